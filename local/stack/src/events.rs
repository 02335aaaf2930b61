//! The parts of sample events that depend on the time and on the stack. A sample event has a word in double braces for
//! each. It is replaced before a function gets the event:
//!
//! | word | what is put in |
//! |---|---|
//! | `{{now}}` | the time, in milliseconds |
//! | `{{token}}` | the token of the status page and its API |
//! | `{{link}}` | the query of a link by which a customer connects an account |
//! | `{{signature}}` | HubSpot's signature of the request |

use anyhow::{Context, Result, ensure};
use model::time::DateTime;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// The values that replace the words.
#[derive(Clone, Debug)]
pub struct Words {
    /// The token of the status page.
    pub token: SecretString,
    /// The client secret of the OAuth app, with which HubSpot signs.
    pub client_secret: SecretString,
    /// A link for a customer.
    pub link: Option<Url>,
}

impl Words {
    /// Returns an event with its words replaced.
    ///
    /// # Errors
    /// The event is not JSON, or has an unknown word.
    pub fn put_into(&self, event: &str, now: DateTime) -> Result<Value> {
        let mut event: Value = serde_json::from_str(event).context("the event is no JSON")?;
        replace(&mut event, "{{now}}", &now.timestamp_millis().to_string());
        replace(&mut event, "{{token}}", self.token.expose_secret());
        if let Some(query) = self.link.as_ref().and_then(Url::query) {
            replace(&mut event, "{{link}}", query);
        }
        let signature = self.signature(&event);
        replace(&mut event, "{{signature}}", &signature);
        let text = event.to_string();
        ensure!(!text.contains("{{link}}"), "the event wants a link, which nobody has made yet");
        ensure!(!text.contains("{{"), "the event wants a word that is not known");
        Ok(event)
    }

    /// Takes the link from a function's answer, if it has one.
    pub fn take_link(&mut self, answer: &Value) {
        let body = answer["body"].as_str().and_then(|body| serde_json::from_str::<Value>(body).ok());
        let url = body.and_then(|body| Url::parse(body["url"].as_str()?).ok());
        self.link = url.or(self.link.take());
    }

    /// Returns HubSpot's signature, version 3, of a request in API Gateway's form.
    fn signature(&self, event: &Value) -> String {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let header = |name: &str| text(&event["headers"][name]);
        let mut url = format!("{}://{}{}", header("x-forwarded-proto"), header("host"), text(&event["rawPath"]));
        if let Some(query) = event["rawQueryString"].as_str().filter(|query| !query.is_empty()) {
            url.push_str(&format!("?{query}"));
        }
        let sent_at = header("x-hubspot-request-timestamp");
        hubspot_sim::signature(self.client_secret.expose_secret(), &url, &text(&event["body"]), &sent_at)
    }
}

/// Replaces a word in all strings of a value.
fn replace(value: &mut Value, word: &str, by: &str) {
    match value {
        Value::String(text) => *text = text.replace(word, by),
        Value::Array(values) => values.iter_mut().for_each(|value| replace(value, word, by)),
        Value::Object(fields) => fields.values_mut().for_each(|value| replace(value, word, by)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_without_words_stays_as_it_is_and_no_word_is_left() {
        let words = Words { token: "a\"b".into(), client_secret: "secret".into(), link: None };
        let put = |event: &str| words.put_into(event, DateTime::from_millis(7));
        assert_eq!(put(r#"{"a": [1, "b"]}"#).unwrap().to_string(), r#"{"a":[1,"b"]}"#);
        assert_eq!(put(r#"{"a": ["{{now}} {{token}}"]}"#).unwrap()["a"][0], "7 a\"b");
        assert!(put(r#"{"a": "{{link}}"}"#).unwrap_err().to_string().contains("link"));
        assert!(put(r#"{"a": "{{else}}"}"#).is_err());
    }
}
