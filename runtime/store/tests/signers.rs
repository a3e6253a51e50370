//! Signers, and what is remembered of a bundle's name: across removal, restart, rotation and revocation.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use aria_core::UnixMs;
use aria_core::admission::Admission;
use aria_core::signer::{Publisher, Signer};
use aria_store::{History, Installed, NewBundle, NewSigner, Store, StoreError};
use aria_types::ErrorKind;
use support::{NOW, admit, bundle, fresh, install, later, name, open, place, signer, trust};

fn reason<T: std::fmt::Debug>(result: Result<T, StoreError>) -> &'static str {
    result.expect_err("refused").reason()
}

fn history(store: &Store, version: &str) -> History {
    store.history(&bundle("weather", version)).expect("history")
}

#[test]
fn a_key_is_trusted_once_and_revoked_for_good_also_after_reopening() {
    let (directory, store) = fresh();
    let new = NewSigner { signer: signer(1), public_key: vec![1; 44], expires_at: Some(later(60)) };
    let (kept, changed) = store.trust_signer(&new, false, "root", NOW).expect("trust");
    assert!(changed && kept.public_key == new.public_key && kept.expires_at == Some(later(60)));
    assert!(!store.trust_signer(&new, false, "root", later(1)).expect("again").1);
    let longer = NewSigner { expires_at: None, ..new.clone() };
    assert_eq!(store.trust_signer(&longer, false, "root", later(1)).expect("longer").0.expires_at, None);
    let other = Signer { publisher: Publisher::parse("bob").expect("publisher"), ..signer(1) };
    assert_eq!(
        reason(store.trust_signer(&NewSigner { signer: other, ..new.clone() }, true, "root", NOW)),
        "SIGNER_EXISTS"
    );
    let second = NewSigner { signer: signer(2), ..new.clone() };
    assert_eq!(reason(store.trust_signer(&second, false, "root", NOW)), "PUBLISHER_TAKEN");

    assert!(store.revoke_signer(&signer(1).key, "root", later(2)).expect("revoke").1);
    assert!(!store.revoke_signer(&signer(1).key, "root", later(3)).expect("again").1);
    let unknown = store.revoke_signer(&signer(9).key, "root", NOW).expect_err("unknown");
    assert_eq!((unknown.reason(), unknown.kind()), ("KEY_UNKNOWN", ErrorKind::NotFound));
    drop(store);
    let store = open(directory.path()).0;
    assert_eq!(store.signer(&signer(1).key).expect("look").expect("there").revoked_at, Some(later(2)));
    assert_eq!(reason(store.trust_signer(&longer, true, "root", NOW)), "SIGNER_REVOKED");
    assert_eq!(store.signers().expect("list").len(), 1);
}

#[test]
fn a_name_remembers_its_publisher_and_its_highest_version() {
    let (directory, store) = fresh();
    assert!(history(&store, "0.1.0").publisher.is_none() && history(&store, "0.1.0").highest.is_none());
    install(&store, bundle("weather", "0.9.0")).expect("install");
    install(&store, bundle("weather", "0.10.0")).expect("install");
    store.remove_bundle(&name("weather"), None, "root", NOW).expect("remove");
    drop(store);
    let store = open(directory.path()).0;
    let found = history(&store, "0.9.0");
    assert_eq!(found.publisher, Some(signer(1).publisher));
    assert_eq!(found.highest.map(|version| version.to_string()), Some("0.10.0".to_owned()));
    assert!(found.same_version.is_none() && found.newest.is_none());
    // The highest does not fall when something older is put there by whoever decides so.
    install(&store, bundle("weather", "0.9.0")).expect("install");
    assert_eq!(history(&store, "0.9.0").highest.map(|version| version.to_string()), Some("0.10.0".to_owned()));
}

#[test]
fn a_refusal_remembers_nothing() {
    let (_directory, store) = fresh();
    trust(&store, 1);
    let refuse = |_: &History| Err(StoreError::Refused(aria_core::admission::Refusal::SignatureMissing));
    let refused = store.install(bundle("weather", "0.1.0"), NOW, refuse, |_| panic!("placed"));
    assert_eq!(reason(refused), "SIGNATURE_MISSING");
    assert!(history(&store, "0.1.0").publisher.is_none());
    let digest = bundle("weather", "0.1.0").digest;
    let broken = store.install(bundle("weather", "0.1.0"), NOW, admit(digest), |_| Err("disk".into()));
    assert!(matches!(broken, Err(StoreError::Place(_))));
    assert!(history(&store, "0.1.0").publisher.is_none());
}

#[test]
fn what_a_revoked_key_vouched_for_is_not_vouched_for_until_somebody_else_does() {
    let (_directory, store) = fresh();
    let Ok(Installed::Now(record)) = install(&store, bundle("weather", "0.1.0")) else { panic!("not installed") };
    store.check_vouched(&record).expect("vouched");
    assert_eq!(store.signed_by(&signer(1).key).expect("list"), [("weather".to_owned(), "0.1.0".to_owned())]);
    store.revoke_signer(&signer(1).key, "root", NOW).expect("revoke");
    assert_eq!(reason(store.check_vouched(&record)), "SIGNER_REVOKED");

    trust(&store, 2);
    let by_the_second = |_: &History| Ok(Admission::Present { signer: signer(2) });
    let again = store.install(bundle("weather", "0.1.0"), later(5), by_the_second, |_| panic!("placed twice"));
    let Ok(Installed::Before(record)) = again else { panic!("{again:?}") };
    assert_eq!((record.signer, record.installed_at), (Some(signer(2).key), NOW));
    store.check_vouched(&store.bundle(&name("weather"), None).expect("there")).expect("vouched again");
}

#[test]
fn a_signer_whose_time_is_over_vouched_while_it_lasted() {
    let (_directory, store) = fresh();
    let new = NewSigner { signer: signer(1), public_key: vec![1; 44], expires_at: Some(UnixMs(NOW.0 + 1)) };
    store.trust_signer(&new, false, "root", NOW).expect("trust");
    let digest = bundle("weather", "0.1.0").digest;
    let placed = |bundles: &std::path::Path| place(bundles, &digest);
    let installed = store.install(bundle("weather", "0.1.0"), NOW, admit(digest), placed);
    let Ok(Installed::Now(record)) = installed else { panic!("not installed") };
    store.check_vouched(&record).expect("vouched");
}

fn accepted(store: &Store, version: &str, authority: &[u8]) -> NewBundle {
    trust(store, 1);
    let new = NewBundle { authority_digest: support::sha256(authority), ..bundle("weather", version) };
    let digest = new.digest;
    let admit = |_: &History| Ok(Admission::Install { signer: signer(1), changes: vec![], grants: true });
    store.install(new.clone(), NOW, admit, |bundles| place(bundles, &digest)).expect("install");
    new
}

#[test]
fn an_accepted_authority_is_for_its_publisher_name_and_both_digests() {
    let (directory, store) = fresh();
    let new = accepted(&store, "0.1.0", b"wide");
    drop(store);
    let store = open(directory.path()).0;
    let granted = |bundle: &NewBundle| store.history(bundle).expect("history").granted;
    assert!(granted(&new));
    assert!(granted(&NewBundle { version: "0.2.0".into(), digest: support::sha256(b"x"), ..new.clone() }));
    assert!(!granted(&NewBundle { authority_digest: support::sha256(b"wider"), ..new.clone() }));
    assert!(!granted(&NewBundle { interface_digest: support::sha256(b"another"), ..new.clone() }));
    assert!(!granted(&NewBundle { name: name("wind"), ..new }));
}

#[test]
fn accepted_authorities_of_one_name_are_bounded() {
    let (_directory, store) = fresh();
    let all: Vec<NewBundle> = (0..20_u8).map(|n| accepted(&store, &format!("0.1.{n}"), &[n])).collect();
    let kept = all.iter().filter(|new| store.history(new).expect("history").granted).count();
    assert_eq!((kept, store.history(&all[0]).expect("history").granted), (16, false));
}
