//! The only code between the engine and a tool's first instruction; everything is in `quilt_sandbox::init`.

fn main() {
    std::process::exit(quilt_sandbox::init::main())
}
