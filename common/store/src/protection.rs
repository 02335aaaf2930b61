//! Checks that the connection to MongoDB is protected.

use environment::production::is_local_host;
use mongodb::options::{ConnectionString, HostInfo, ServerAddress, Tls};

/// Returns true if nobody between here and MongoDB can read or change the traffic: each server is reached by TLS with a
/// valid certificate, or is on this machine.
pub(crate) fn is_protected(mongodb: &ConnectionString) -> bool {
    let is_here = |server: &ServerAddress| match server {
        ServerAddress::Tcp { host, .. } => is_local_host(host),
        // A Unix socket.
        _ => true,
    };
    match (&mongodb.tls, &mongodb.host_info) {
        (_, HostInfo::HostIdentifiers(servers)) if servers.iter().all(is_here) => true,
        (Some(Tls::Enabled(tls)), _) => tls.allow_invalid_certificates != Some(true),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mongodb_outside_this_machine_is_reached_by_tls_with_valid_certificates() {
        let protected = [
            "mongodb+srv://u:p@cluster.example.net/?retryWrites=true",
            "mongodb://u:p@a.example.net,b.example.net/?tls=true",
            "mongodb://a.example.net/?ssl=true&replicaSet=rs0",
            "mongodb://a.example.net/?tlsCAFile=/opt/ca.pem",
            "mongodb://a.example.net/?tlsInsecure=false",
            "mongodb://127.0.0.1:27017",
            "mongodb://localhost,[::1]:27017/?replicaSet=rs0",
            "mongodb://localhost/?tls=true&tlsInsecure=true",
        ];
        let plain = [
            "mongodb://u:p@a.example.net/",
            "mongodb://10.0.0.1",
            "mongodb://localhost,a.example.net",
            "mongodb://a.example.net/?tls=false",
            "mongodb+srv://cluster.example.net/?tls=false",
            "mongodb://a.example.net/?tls=true&tlsInsecure=true",
            "mongodb+srv://cluster.example.net/?tlsAllowInvalidCertificates=true",
        ];
        for (uris, is_right) in [(protected.as_slice(), true), (&plain, false)] {
            for uri in uris {
                let parsed = ConnectionString::parse(uri).unwrap_or_else(|error| panic!("{uri}: {error}"));
                assert_eq!(is_protected(&parsed), is_right, "{uri}");
            }
        }
    }
}
