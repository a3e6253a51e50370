//! The compiled filter, run by an interpreter over every call number, against the table it was compiled from.

use std::collections::BTreeMap;

use super::table::{CLONE_NEW_ANY, answers, shim_answers};
use super::*;

const SECRETS: [u64; 2] = [0x1234_5678_9abc, 0x0fed_cba9_8765];
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const YES: u32 = libc::SECCOMP_RET_ALLOW;
const DEAD: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// What the kernel would do with this call.
fn run(filter: &[sock_filter], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = [0u32; 16];
    data[0] = number;
    data[1] = arch;
    for (index, argument) in arguments.iter().enumerate() {
        data[4 + 2 * index] = *argument as u32;
        data[5 + 2 * index] = (*argument >> 32) as u32;
    }
    let (mut at, mut accumulator) = (0usize, 0u32);
    loop {
        let step = filter[at];
        at += 1;
        match step.code {
            LOAD => accumulator = data[step.k as usize / 4],
            RETURN => return step.k,
            JUMP => at += step.k as usize,
            code => {
                let yes = match code {
                    JUMP_EQUAL => accumulator == step.k,
                    JUMP_AT_LEAST => accumulator >= step.k,
                    JUMP_ANY_BIT => accumulator & step.k != 0,
                    other => panic!("unknown instruction {other:#x}"),
                };
                at += usize::from(if yes { step.jt } else { step.jf });
            }
        }
    }
}

fn call(profile: Profile, number: i64, arguments: &[u64]) -> u32 {
    let mut all = [0u64; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    run(&program(profile, SECRETS), ARCH, number as u32, all)
}

#[test]
fn every_number_answers_as_the_table_says() {
    for profile in [Profile::Tool, Profile::ToolNoexec, Profile::ToolNojit] {
        let table: BTreeMap<u32, Answer> = answers(profile).into_iter().collect();
        let filter = program(profile, SECRETS);
        assert!(filter.len() < 1000, "{} instructions", filter.len());
        for number in (0..2000).chain([0x3fff_ffff]) {
            let got = run(&filter, ARCH, number, [u64::MAX; 6]);
            match table.get(&number) {
                None => assert_eq!(got, ENOSYS, "call {number}"),
                Some(Answer::Allow) => assert_eq!(got, YES, "call {number}"),
                Some(Answer::Errno(errno)) => assert_eq!(got, libc::SECCOMP_RET_ERRNO | *errno as u32, "call {number}"),
                // All bits set satisfies no rule.
                Some(Answer::Rule(_)) => assert_eq!(got, EPERM, "call {number}"),
            }
        }
    }
}

#[test]
fn the_shim_may_only_wait_report_and_end() {
    let table: BTreeMap<u32, Answer> = shim_answers().into_iter().collect();
    for number in 0..2000 {
        let expected = if table.contains_key(&number) { YES } else { ENOSYS };
        assert_eq!(run(&shim(), ARCH, number, [0; 6]), expected, "call {number}");
    }
}

#[test]
fn x32_and_other_architectures_die() {
    for filter in [program(Profile::Tool, SECRETS), program(Profile::ToolNoexec, SECRETS), shim()] {
        for number in 0..1000 {
            assert_eq!(run(&filter, ARCH, X32_FIRST | number, [0; 6]), DEAD);
            assert_eq!(run(&filter, 0x4000_0003, number, [0; 6]), DEAD, "i386 {number}");
            assert_eq!(run(&filter, 0xc000_00b8, number, [0; 6]), DEAD, "foreign {number}");
        }
        assert_eq!(run(&filter, ARCH, u32::MAX, [0; 6]), DEAD);
    }
}

#[test]
fn clone_makes_threads_and_processes_but_no_namespaces() {
    let thread = 0x003d_0f00;
    let process = libc::SIGCHLD as u64;
    assert_eq!(call(Profile::Tool, libc::SYS_clone, &[thread]), YES);
    assert_eq!(call(Profile::Tool, libc::SYS_clone, &[process]), YES);
    assert_eq!(call(Profile::ToolNoexec, libc::SYS_clone, &[thread]), YES);
    assert_eq!(call(Profile::ToolNoexec, libc::SYS_clone, &[process]), EPERM);
    for bit in (0..32).filter(|bit| CLONE_NEW_ANY & 1 << bit != 0) {
        for flags in [1u64 << bit, thread | 1 << bit, 0xffff_ffff_0000_0000 | 1 << bit] {
            assert_eq!(call(Profile::Tool, libc::SYS_clone, &[flags]), EPERM);
            assert_eq!(call(Profile::ToolNoexec, libc::SYS_clone, &[flags]), EPERM);
        }
    }
    assert_eq!(call(Profile::Tool, libc::SYS_clone3, &[0]), ENOSYS);
}

#[test]
fn only_unix_sockets() {
    for number in [libc::SYS_socket, libc::SYS_socketpair] {
        for family in 0..64 {
            let expected = if family == libc::AF_UNIX as u64 { YES } else { EPERM };
            assert_eq!(call(Profile::Tool, number, &[family]), expected, "family {family}");
            // The kernel drops the upper half, so it must not change the answer either way.
            assert_eq!(call(Profile::Tool, number, &[family | 0xdead_0000_0000]), expected, "family {family}");
        }
    }
}

#[test]
fn upper_halves_do_not_hide_a_terminal_ioctl() {
    for request in [libc::TIOCSTI, libc::TIOCLINUX, libc::TIOCSCTTY, 0x5421_0000_5412] {
        assert_eq!(call(Profile::Tool, libc::SYS_ioctl, &[0, request]), EPERM);
        assert_eq!(call(Profile::Tool, libc::SYS_ioctl, &[0, request | 1 << 32]), EPERM);
    }
    assert_eq!(call(Profile::Tool, libc::SYS_ioctl, &[0, libc::TCGETS]), YES);
}

#[test]
fn memory_that_nobody_is_charged_for_is_refused() {
    let private = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    assert_eq!(call(Profile::Tool, libc::SYS_mmap, &[0, 4096, 3, private]), YES);
    assert_eq!(call(Profile::Tool, libc::SYS_mmap, &[0, 4096, 3, private | libc::MAP_HUGETLB as u64]), EPERM);
    assert_eq!(call(Profile::Tool, libc::SYS_memfd_create, &[0, libc::MFD_CLOEXEC.into()]), YES);
    assert_eq!(call(Profile::Tool, libc::SYS_memfd_create, &[0, libc::MFD_HUGETLB.into()]), EPERM);
}

#[test]
fn limits_and_process_attributes_only_of_oneself() {
    assert_eq!(call(Profile::Tool, libc::SYS_prlimit64, &[0]), YES);
    assert_eq!(call(Profile::Tool, libc::SYS_prlimit64, &[1]), EPERM);
    assert_eq!(call(Profile::Tool, libc::SYS_prctl, &[libc::PR_SET_NAME as u64]), YES);
    for option in
        [libc::PR_SET_DUMPABLE, libc::PR_SET_SECCOMP, libc::PR_SET_MM, libc::PR_CAPBSET_DROP, libc::PR_SET_PTRACER]
    {
        assert_eq!(call(Profile::Tool, libc::SYS_prctl, &[option as u64]), EPERM, "option {option}");
    }
}

#[test]
fn noexec_lets_one_execve_pass_and_no_other() {
    let profile = Profile::ToolNoexec;
    assert_eq!(call(profile, libc::SYS_execve, &SECRETS), YES);
    for (index, bit) in [(0, 0), (0, 31), (0, 32), (0, 63), (1, 0), (1, 31), (1, 32), (1, 63)] {
        let mut guess = SECRETS;
        guess[index] ^= 1u64 << bit;
        assert_eq!(call(profile, libc::SYS_execve, &guess), EPERM);
    }
    assert_eq!(call(profile, libc::SYS_execveat, &SECRETS), EPERM);
    #[cfg(target_arch = "x86_64")]
    for number in [libc::SYS_fork, libc::SYS_vfork] {
        assert_eq!(call(profile, number, &[]), ENOSYS);
    }
    for number in [libc::SYS_pidfd_open, libc::SYS_waitid] {
        assert_eq!(call(profile, number, &[]), ENOSYS);
    }
    assert_eq!(call(Profile::Tool, libc::SYS_execve, &[1, 2]), YES);
}

#[test]
fn nojit_makes_nothing_executable_but_files() {
    let profile = Profile::ToolNojit;
    let (read, write, exec) = (libc::PROT_READ as u64, libc::PROT_WRITE as u64, libc::PROT_EXEC as u64);
    let (private, anonymous) = (libc::MAP_PRIVATE as u64, (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64);
    for above in [0, 0xdead_0000_0000] {
        let map = |prot, flags| call(profile, libc::SYS_mmap, &[0, 4096, prot | above, flags | above, 5, 0]);
        assert_eq!(map(read | exec, private), YES);
        assert_eq!(map(read | write, anonymous), YES);
        assert_eq!(map(read | write | exec, private), EPERM);
        assert_eq!(map(read | exec, anonymous), EPERM);
        assert_eq!(map(exec, anonymous), EPERM);
        assert_eq!(map(read | write | exec, anonymous), EPERM);
        assert_eq!(map(read | write, anonymous | libc::MAP_HUGETLB as u64), EPERM);
        for prot in [exec, read | exec, write | exec, read | write | exec] {
            assert_eq!(call(profile, libc::SYS_mprotect, &[0, 4096, prot | above]), EPERM);
        }
        assert_eq!(call(profile, libc::SYS_mprotect, &[0, 4096, read | write | above]), YES);
    }
    assert_eq!(call(profile, libc::SYS_memfd_create, &[0, libc::MFD_CLOEXEC.into()]), EPERM);
    assert_eq!(call(profile, libc::SYS_pkey_mprotect, &[0, 4096, exec]), ENOSYS);
    assert_eq!(call(profile, libc::SYS_execve, &SECRETS), YES);
    assert_eq!(call(profile, libc::SYS_execve, &[1, 2]), EPERM);
    assert_eq!(call(profile, libc::SYS_clone, &[libc::SIGCHLD as u64]), EPERM);
}
