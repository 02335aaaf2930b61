//! The addresses of the function. They may be below a path of its host.

use axum::http::Uri;
use reqwest::Url;

tokio::task_local! {
    /// The path of the public address, set while a request is answered. All paths of browsers begin with it: `/crm` for
    /// `https://api.example.com/crm`. Empty if the address has no path.
    pub(crate) static ROOT: String;
}

/// Returns one of the function's own paths as browsers request it: below [`ROOT`].
pub(crate) fn from_root(path: &str) -> String {
    ROOT.try_with(|root| format!("{root}{path}")).unwrap_or_else(|_| path.to_owned())
}

/// Returns the path of a public address, in the form of [`ROOT`].
pub(crate) fn root(base: &Url) -> &str {
    base.path().trim_end_matches('/')
}

/// Returns the address of one of the function's own paths.
pub(crate) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", root(base)));
    url
}

/// Returns the address of a request without the path of the public address, so that it names one of the function's own
/// paths. Returns the address unchanged if it is not below that path: API Gateway leaves the key of a custom domain's
/// API mapping in the path (aws-powertools/powertools-lambda-python#576), but a proxy before it may have removed it.
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
