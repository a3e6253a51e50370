//! From a name to its addresses. Asked anew for every request and never cached, so what was checked is what is connected to.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use aria_core::egress::HostName;
use aria_core::port::BoxFuture;
use hickory_resolver::TokioResolver;

/// Addresses of one name; none is an answer too.
pub type Resolve = Arc<dyn Fn(HostName) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Most addresses looked at.
const ADDRESSES_MAX: usize = 16;

/// The operator's names first, then the resolvers of `/etc/resolv.conf` as it is now.
pub(super) fn system(hosts: BTreeMap<HostName, IpAddr>) -> Resolve {
    let hosts = Arc::new(hosts);
    Arc::new(move |host| {
        let hosts = Arc::clone(&hosts);
        Box::pin(async move {
            match (hosts.get(&host), host.as_str().parse()) {
                (Some(address), _) => Ok(vec![*address]),
                (None, Ok(address)) => Ok(vec![address]),
                (None, Err(_)) => look_up(&host).await,
            }
        })
    })
}

async fn look_up(host: &HostName) -> io::Result<Vec<IpAddr>> {
    let mut builder = TokioResolver::builder_tokio().map_err(io::Error::other)?;
    builder.options_mut().cache_size = 0;
    let resolver = builder.build().map_err(io::Error::other)?;
    // The dot at the end keeps search domains out: the name that was granted is the name that is asked for.
    match resolver.lookup_ip(format!("{host}.")).await {
        Ok(found) => Ok(found.iter().take(ADDRESSES_MAX).collect()),
        Err(error) if error.is_no_records_found() || error.is_nx_domain() => Ok(Vec::new()),
        Err(error) => Err(io::Error::other(error)),
    }
}
