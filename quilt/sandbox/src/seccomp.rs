//! The system-call filter: a table of numbers and answers, compiled to a binary search.
//!
//! Everything that is not in the table gets ENOSYS, so libc falls back to what is. A call from another architecture or
//! with an x32 number kills the process. The kernel caches plain answers per number, so the tree costs next to nothing.

pub(crate) mod table;

use libc::sock_filter;

use crate::Profile;
use table::Rule;

/// What the filter answers for one call number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    Allow,
    Errno(i32),
    /// Depends on the arguments.
    Rule(Rule),
}

/// The numbers from here up are x32; no native call is that large.
pub(crate) const X32_FIRST: u32 = 0x4000_0000;

#[cfg(target_arch = "x86_64")]
pub(crate) const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(crate) const ARCH: u32 = 0xc000_00b7;

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;

/// Byte offset of the low half of argument `index` in `seccomp_data` (little endian).
const fn low(index: u32) -> u32 {
    16 + 8 * index
}

const fn high(index: u32) -> u32 {
    low(index) + 4
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JUMP_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;

const fn instruction(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

const fn branch(code: u16, k: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { code, jt: yes, jf: no, k }
}

const ALLOW: sock_filter = instruction(RETURN, libc::SECCOMP_RET_ALLOW);
const KILL: sock_filter = instruction(RETURN, libc::SECCOMP_RET_KILL_PROCESS);

const fn refuse(errno: i32) -> sock_filter {
    instruction(RETURN, libc::SECCOMP_RET_ERRNO | (errno as u32 & libc::SECCOMP_RET_DATA))
}

/// The filter of a program. `secrets` are the only path and argument pointers `execve` may be called with under
/// `ToolNoexec` and `ToolNojit`; `Tool` ignores them.
pub(crate) fn program(profile: Profile, secrets: [u64; 2]) -> Vec<sock_filter> {
    compile(&table::answers(profile), secrets)
}

/// The filter of the shim while it waits.
pub(crate) fn shim() -> Vec<sock_filter> {
    compile(&table::shim_answers(), [0, 0])
}

/// A table of (number, answer), sorted by number, as a filter; numbers that are absent answer ENOSYS.
fn compile(answers: &[(u32, Answer)], secrets: [u64; 2]) -> Vec<sock_filter> {
    let mut filter = vec![
        instruction(LOAD, OFFSET_ARCH),
        branch(JUMP_EQUAL, ARCH, 1, 0),
        KILL,
        instruction(LOAD, OFFSET_NUMBER),
        branch(JUMP_AT_LEAST, X32_FIRST, 0, 1),
        KILL,
    ];
    filter.extend(tree(&intervals(answers), secrets));
    filter
}

/// Where each run of equal answers begins; the first begins at 0.
fn intervals(answers: &[(u32, Answer)]) -> Vec<(u32, Answer)> {
    const ABSENT: Answer = Answer::Errno(libc::ENOSYS);
    let mut runs: Vec<(u32, Answer)> = vec![(0, ABSENT)];
    let mut push = |start: u32, answer: Answer| match runs.last_mut() {
        Some(last) if last.0 == start => last.1 = answer,
        Some(last) if last.1 == answer => {}
        _ => runs.push((start, answer)),
    };
    for &(number, answer) in answers {
        push(number, answer);
        push(number + 1, ABSENT);
    }
    // Overwriting the start of a run can make it equal to the one before it.
    runs.dedup_by(|next, previous| next.1 == previous.1);
    runs
}

fn tree(runs: &[(u32, Answer)], secrets: [u64; 2]) -> Vec<sock_filter> {
    match runs {
        [] => vec![refuse(libc::ENOSYS)],
        [(_, answer)] => leaf(*answer, secrets),
        _ => {
            let (below, above) = runs.split_at(runs.len() / 2);
            let (left, right) = (tree(below, secrets), tree(above, secrets));
            let mut node = Vec::with_capacity(left.len() + right.len() + 2);
            match u8::try_from(left.len()) {
                Ok(distance) => node.push(branch(JUMP_AT_LEAST, above[0].0, distance, 0)),
                Err(_) => {
                    node.push(branch(JUMP_AT_LEAST, above[0].0, 0, 1));
                    node.push(instruction(JUMP, left.len() as u32));
                }
            }
            node.extend(left);
            node.extend(right);
            node
        }
    }
}

fn leaf(answer: Answer, secrets: [u64; 2]) -> Vec<sock_filter> {
    match answer {
        Answer::Allow => vec![ALLOW],
        Answer::Errno(errno) => vec![refuse(errno)],
        Answer::Rule(rule) => rule_body(rule, secrets),
    }
}

/// Flags, commands and families are 32-bit in the kernel, so only the low half may count: bits above would slip past
/// an equality test and be ignored afterwards. Pointers are compared whole.
fn rule_body(rule: Rule, secrets: [u64; 2]) -> Vec<sock_filter> {
    match rule {
        Rule::OneOf { argument, values, otherwise } => {
            let mut body = vec![instruction(LOAD, low(argument))];
            for value in values {
                body.extend([branch(JUMP_EQUAL, *value, 0, 1), ALLOW]);
            }
            body.push(refuse(otherwise));
            body
        }
        Rule::NoBits { argument, bits } => {
            vec![instruction(LOAD, low(argument)), branch(JUMP_ANY_BIT, bits, 0, 1), refuse(libc::EPERM), ALLOW]
        }
        Rule::ThreadsOnly { forbidden, needed } => vec![
            instruction(LOAD, low(0)),
            branch(JUMP_ANY_BIT, forbidden, 0, 1),
            refuse(libc::EPERM),
            branch(JUMP_ANY_BIT, needed, 0, 1),
            ALLOW,
            refuse(libc::EPERM),
        ],
        Rule::FilesOnlyExecutable => vec![
            instruction(LOAD, low(3)),
            branch(JUMP_ANY_BIT, libc::MAP_HUGETLB as u32, 0, 1),
            refuse(libc::EPERM),
            instruction(LOAD, low(2)),
            branch(JUMP_ANY_BIT, libc::PROT_EXEC as u32, 1, 0),
            ALLOW,
            branch(JUMP_ANY_BIT, libc::PROT_WRITE as u32, 0, 1),
            refuse(libc::EPERM),
            instruction(LOAD, low(3)),
            branch(JUMP_ANY_BIT, libc::MAP_ANONYMOUS as u32, 0, 1),
            refuse(libc::EPERM),
            ALLOW,
        ],
        Rule::SecretPointers => {
            let mut body = Vec::new();
            for (argument, secret) in (0u32..).zip(secrets) {
                for (offset, half) in [(low(argument), secret as u32), (high(argument), (secret >> 32) as u32)] {
                    body.extend([instruction(LOAD, offset), branch(JUMP_EQUAL, half, 1, 0), refuse(libc::EPERM)]);
                }
            }
            body.push(ALLOW);
            body
        }
    }
}

#[cfg(test)]
mod tests;
