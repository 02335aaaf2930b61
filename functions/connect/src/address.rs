//! The addresses of the function, which may be below a path of its host.

use axum::http::Uri;
use reqwest::Url;

tokio::task_local! {
    /// The path of the public address while a request is answered, below which browsers find everything: `/crm` of
    /// `https://api.example.com/crm`, or nothing.
    pub(crate) static ROOT: String;
}

/// Returns one of the function's own paths as browsers have to write it.
pub(crate) fn from_root(path: &str) -> String {
    ROOT.try_with(|root| format!("{root}{path}")).unwrap_or_else(|_| path.to_owned())
}

/// Returns the path of a public address as [`ROOT`] has it.
pub(crate) fn root(base: &Url) -> &str {
    base.path().trim_end_matches('/')
}

/// Returns the address of one of the function's own paths.
pub(crate) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", root(base)));
    url
}

/// Takes the path of the public address away from a request, which then names one of the function's own paths. API Gateway
/// leaves the key of a custom domain's API mapping in the path (aws-powertools/powertools-lambda-python#576); what stands
/// before it may have taken it away.
pub(crate) fn without_root(uri: &Uri, root: &str) -> Uri {
    let rest = uri.path().strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let Some(rest) = rest.filter(|_| !root.is_empty()) else { return uri.clone() };
    let path = if rest.is_empty() { "/" } else { rest };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = format!("{path}{query}").try_into().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_below_the_public_address_names_the_functions_own_path() {
        let strip = |uri: &str, root: &str| without_root(&uri.parse().unwrap(), root).to_string();
        for (uri, root, expected) in [
            ("/crm/hubspot/install?domain=a%2Fb&hub=7", "/crm", "/hubspot/install?domain=a%2Fb&hub=7"),
            ("/crm", "/crm", "/"),
            ("/crm/?done=paused", "/crm", "/?done=paused"),
            ("https://api.example.com/a/b/style.css", "/a/b", "https://api.example.com/style.css"),
            ("/crmx/hubspot/install", "/crm", "/crmx/hubspot/install"),
            ("/hubspot/install", "/crm", "/hubspot/install"),
            ("/hubspot/install", "", "/hubspot/install"),
        ] {
            assert_eq!(strip(uri, root), expected, "{uri} below {root}");
        }
    }

    #[test]
    fn own_addresses_are_below_the_public_one() {
        for (base, expected) in [
            ("https://sync.example.com", "https://sync.example.com/hubspot/callback"),
            ("https://api.example.com/crm", "https://api.example.com/crm/hubspot/callback"),
            ("https://api.example.com/crm/", "https://api.example.com/crm/hubspot/callback"),
        ] {
            assert_eq!(below(&Url::parse(base).unwrap(), "/hubspot/callback").as_str(), expected);
        }
    }
}
