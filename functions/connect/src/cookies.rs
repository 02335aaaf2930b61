//! The cookies that the function sets.

use axum::http::{HeaderMap, HeaderValue, header};
use cookie::{SameSite, time::Duration};
use reqwest::Url;

use crate::address::root;

/// A cookie that scripts cannot read. The browser sends it with every request to the function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cookie {
    pub(crate) name: &'static str,
    /// Whether the browser sends the cookie with a navigation that another site began.
    pub(crate) same_site: SameSite,
}

impl Cookie {
    /// Returns the cookie's name with its prefix. Over HTTPS, browsers make sure that no other host, and nobody over
    /// plain HTTP, has set a cookie of such a name (RFC 6265bis, section 4.1.3). Over plain HTTP, as on a developer's
    /// machine, there is no prefix.
    fn full_name(self, base: &Url) -> String {
        let prefix = match (base.scheme(), path(base)) {
            ("https", "/") => "__Host-",
            ("https", _) => "__Secure-",
            _ => "",
        };
        format!("{prefix}{}", self.name)
    }

    /// Returns the cookie's value. Returns `None` if there is none, or more than one: somebody else may have set one of
    /// them.
    pub(crate) fn read(self, headers: &HeaderMap, base: &Url) -> Option<String> {
        let name = self.full_name(base);
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let cookies = lines.flat_map(cookie::Cookie::split_parse).flatten();
        let mut values = cookies.filter(|cookie| cookie.name() == name).map(|cookie| cookie.value().to_owned());
        values.next().filter(|_| values.next().is_none())
    }

    /// Returns the header that sets the cookie. The browser keeps the cookie for `seconds`.
    pub(crate) fn set(self, value: &str, base: &Url, seconds: u64) -> HeaderMap {
        let cookie = cookie::Cookie::build((self.full_name(base), value))
            .http_only(true)
            .same_site(self.same_site)
            .secure(base.scheme() == "https")
            .path(path(base))
            .max_age(Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX)));
        HeaderValue::from_str(&cookie.build().to_string())
            .map(|value| HeaderMap::from_iter([(header::SET_COOKIE, value)]))
            .unwrap_or_default()
    }

    /// Returns the header that makes the browser delete the cookie.
    pub(crate) fn forget(self, base: &Url) -> HeaderMap {
        self.set("", base, 0)
    }
}

/// Returns the path of the cookies. Other services may be below other paths of the same host.
fn path(base: &Url) -> &str {
    Some(root(base)).filter(|root| !root.is_empty()).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Cookie = Cookie { name: "session", same_site: SameSite::Strict };
    const ASKED: Cookie = Cookie { name: "asked", same_site: SameSite::Lax };

    fn url(scheme: &str) -> Url {
        Url::parse(&format!("{scheme}://sync.example")).unwrap()
    }

    fn set(cookie: Cookie, scheme: &str) -> String {
        cookie.set("x", &url(scheme), 60)["set-cookie"].to_str().unwrap().to_owned()
    }

    fn read(cookies: &[&'static str], scheme: &str) -> Option<String> {
        let headers = cookies.iter().map(|text| (header::COOKIE, HeaderValue::from_static(text)));
        SESSION.read(&HeaderMap::from_iter(headers), &url(scheme))
    }

    #[test]
    fn over_https_no_other_host_can_set_a_cookie() {
        assert_eq!(set(SESSION, "https"), "__Host-session=x; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=60");
        assert_eq!(set(ASKED, "https"), "__Host-asked=x; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=60");
        assert_eq!(set(SESSION, "http"), "session=x; HttpOnly; SameSite=Strict; Path=/; Max-Age=60");
        assert_eq!(read(&["session=forged"], "https"), None);
        assert_eq!(read(&["session=forged; __Host-session=own"], "https").as_deref(), Some("own"));
    }

    #[test]
    fn below_a_path_of_the_host_no_other_path_gets_a_cookie() {
        let base = Url::parse("https://api.example.com/crm").unwrap();
        let set = |cookie: Cookie| cookie.set("x", &base, 60)["set-cookie"].to_str().unwrap().to_owned();
        assert_eq!(set(SESSION), "__Secure-session=x; HttpOnly; SameSite=Strict; Secure; Path=/crm; Max-Age=60");
    }

    #[test]
    fn a_cookie_that_is_there_twice_is_refused() {
        assert_eq!(read(&["a=b; session=one"], "http").as_deref(), Some("one"));
        assert_eq!(read(&["session=one; session=two"], "http"), None);
        let twice = [(header::COOKIE, "session=one"), (header::COOKIE, "session=one")];
        let mut headers = HeaderMap::new();
        for (name, value) in twice {
            headers.append(name, HeaderValue::from_static(value));
        }
        assert_eq!(SESSION.read(&headers, &url("http")), None);
        assert_eq!(read(&[], "http"), None);
    }
}
