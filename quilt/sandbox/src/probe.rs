//! Which layers this machine gives every cage.

use crate::cgroup::Cgroup;
use crate::{Layer, LayerState, OpenError, landlock, sys};

fn layer(name: &'static str, required: bool, found: Result<String, String>) -> Layer {
    let state = match found {
        Ok(form) => LayerState::Active(form),
        Err(why) => LayerState::Absent(why),
    };
    Layer { name, state, required }
}

/// What can be told without building a cage. The namespaces, the mounts and the pivot are told by building one.
pub(crate) fn layers(cgroup: &dyn Cgroup) -> Vec<Layer> {
    vec![
        layer("cgroup", true, Ok(cgroup.form())),
        layer("user-namespace", true, user_namespaces()),
        layer("seccomp", true, seccomp()),
        layer("landlock", false, landlock()),
    ]
}

/// The layers the first launcher has proved by parking.
pub(crate) fn proved() -> Vec<Layer> {
    ["mount-namespace", "pid-namespace", "network-namespace", "ipc-namespace", "uts-namespace", "cgroup-namespace"]
        .into_iter()
        .chain(["read-only-root", "own-dev"])
        .map(|name| layer(name, true, Ok(String::new())))
        .collect()
}

/// The first required layer that is absent, as an error.
pub(crate) fn require(layers: &[Layer]) -> Result<(), OpenError> {
    for layer in layers {
        if let (true, LayerState::Absent(why)) = (layer.required, &layer.state) {
            return Err(OpenError::Layer { layer: layer.name, detail: why.clone() });
        }
    }
    Ok(())
}

fn user_namespaces() -> Result<String, String> {
    if !std::path::Path::new("/proc/self/ns/user").exists() {
        return Err("the kernel has no user namespaces".into());
    }
    match std::fs::read_to_string("/proc/sys/user/max_user_namespaces") {
        Ok(text) if text.trim() == "0" => Err("user.max_user_namespaces is 0".into()),
        _ => Ok(String::new()),
    }
}

fn seccomp() -> Result<String, String> {
    let known = [libc::SECCOMP_RET_KILL_PROCESS, libc::SECCOMP_RET_ERRNO, libc::SECCOMP_RET_ALLOW]
        .into_iter()
        .all(sys::filter_action_known);
    if known { Ok("filter".into()) } else { Err("the kernel has no seccomp filters that kill a process".into()) }
}

fn landlock() -> Result<String, String> {
    landlock::version().map(|abi| format!("abi {abi}")).ok_or_else(|| "the kernel has no Landlock".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_layer_stops_the_engine_only_if_required() {
        let absent = |required| vec![layer("landlock", required, Err("no".into()))];
        assert!(require(&absent(false)).is_ok());
        assert!(matches!(require(&absent(true)), Err(OpenError::Layer { layer: "landlock", .. })));
    }
}
