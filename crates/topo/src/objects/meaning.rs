//! What the answer of an object store means for a call.

use super::line::Answer;
use crate::error::Category;
use http::StatusCode;

/// What became of the call that was answered so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    /// Not done: what stands there is not what the condition wants, or another write is under way.
    Condition,
    /// Not done: there is no such object.
    Missing,
    /// Not done, for this reason; with the mend.
    Refused(Category, &'static str),
    /// A write may have been done all the same; a read failed for this reason.
    Unknown(Category, &'static str),
}

const REGION: &str = "the bucket is in another region or under another address; add region=NAME or endpoint=URL";
const CREDENTIALS: &str = "look at the credentials, and at the rights to list, read and write below the prefix";
const EXPIRED: &str = "the credentials have expired, or are no longer known; renew them";
const CLOCK: &str = "the clocks of this machine and of the server differ too much; set this machine's clock";
const BUCKET: &str = "there is no such bucket or container; make it, or mend its name in the URL";
const CONDITIONS: &str = "the server cannot do what Hansa needs, writes with If-Match and If-None-Match among it; use a newer or another one";
const THROTTLED: &str = "the server asks to be called less often";
const FAILING: &str = "the server fails";
const TIMEOUT: &str = "the server did not get the whole request in time";
const FULL: &str = "the quota or the disk is full; make room";
const SIZE: &str = "the server takes no object of this size";
const ODD: &str = "the server refuses the request";
const INCOMPLETE: &str = "the answer lacks a part that it must have";

/// Words in a store's code for "slower, please"; S3: SlowDown, Throttling…, RequestLimitExceeded;
/// Azure: ServerBusy; Google: rateLimitExceeded.
const SLOWER: [&str; 6] = ["slowdown", "throttl", "toomanyrequests", "requestlimit", "busy", "ratelimit"];

/// The one table of all stores; where they differ, their codes do.
pub(super) fn meaning(answer: &Answer) -> Meaning {
    use Category::*;
    use Meaning::*;
    let code = answer.code.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| code.contains(word));
    let about_the_bucket = || {
        says(&["nosuchbucket", "container", "account"])
            || answer.message.to_ascii_lowercase().contains("bucket does not")
    };
    match answer.status {
        status if status.is_success() => Unknown(Internal, INCOMPLETE),
        StatusCode::PRECONDITION_FAILED | StatusCode::NOT_MODIFIED => Condition,
        StatusCode::CONFLICT if says(&["container", "account"]) => Refused(Unavailable, FAILING),
        // S3's ConditionalRequestConflict, Azure's BlobAlreadyExists.
        StatusCode::CONFLICT => Condition,
        StatusCode::NOT_FOUND if about_the_bucket() => Refused(Configuration, BUCKET),
        StatusCode::NOT_FOUND => Missing,
        status if status.is_redirection() => Refused(Configuration, REGION),
        StatusCode::TOO_MANY_REQUESTS => Refused(Throttled, THROTTLED),
        // Anybody's 503 may come after the request went through; only one that says so is a refusal.
        StatusCode::SERVICE_UNAVAILABLE if says(&SLOWER) => Refused(Throttled, THROTTLED),
        StatusCode::INSUFFICIENT_STORAGE => Refused(Full, FULL),
        StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => Refused(Configuration, CONDITIONS),
        StatusCode::PAYLOAD_TOO_LARGE => Refused(TooLarge, SIZE),
        StatusCode::REQUEST_TIMEOUT => Unknown(Timeout, TIMEOUT),
        status if status.is_server_error() => Unknown(Unavailable, FAILING),
        _ if says(&["expired", "invalidtoken", "tokenrefresh"]) => Refused(Unauthorized, EXPIRED),
        _ if says(&["timetooskewed"]) => Refused(Unauthorized, CLOCK),
        _ if says(&["quota"]) => Refused(Full, FULL),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Refused(Unauthorized, CREDENTIALS),
        _ if says(&["invalidaccesskeyid", "authentication", "signature"]) => Refused(Unauthorized, CREDENTIALS),
        _ if says(&["requesttimeout"]) => Refused(Timeout, TIMEOUT),
        _ if says(&["authorizationheadermalformed", "location", "redirect"]) => Refused(Configuration, REGION),
        _ if says(&["toolarge"]) => Refused(TooLarge, SIZE),
        _ if says(&["notimplemented"]) => Refused(Configuration, CONDITIONS),
        _ => Refused(Internal, ODD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use std::time::Duration;

    #[test]
    fn answers_of_the_clouds() {
        use Category::*;
        use Meaning::*;
        let cases = [
            (412, "PreconditionFailed", Condition),
            (412, "ConditionNotMet", Condition),
            (409, "ConditionalRequestConflict", Condition),
            (409, "BlobAlreadyExists", Condition),
            (409, "ContainerBeingDeleted", Refused(Unavailable, FAILING)),
            (404, "NoSuchKey", Missing),
            (404, "BlobNotFound", Missing),
            (404, "NoSuchBucket", Refused(Configuration, BUCKET)),
            (404, "ContainerNotFound", Refused(Configuration, BUCKET)),
            (301, "PermanentRedirect", Refused(Configuration, REGION)),
            (400, "AuthorizationHeaderMalformed", Refused(Configuration, REGION)),
            (400, "ExpiredToken", Refused(Unauthorized, EXPIRED)),
            (403, "RequestTimeTooSkewed", Refused(Unauthorized, CLOCK)),
            (403, "SignatureDoesNotMatch", Refused(Unauthorized, CREDENTIALS)),
            (401, "", Refused(Unauthorized, CREDENTIALS)),
            (403, "QuotaExceeded", Refused(Full, FULL)),
            (429, "", Refused(Throttled, THROTTLED)),
            (503, "SlowDown", Refused(Throttled, THROTTLED)),
            (503, "ServerBusy", Refused(Throttled, THROTTLED)),
            // A gateway between: the request may have gone through.
            (503, "", Unknown(Unavailable, FAILING)),
            (500, "InternalError", Unknown(Unavailable, FAILING)),
            (504, "", Unknown(Unavailable, FAILING)),
            (400, "RequestTimeout", Refused(Timeout, TIMEOUT)),
            (400, "EntityTooLarge", Refused(TooLarge, SIZE)),
            (501, "NotImplemented", Refused(Configuration, CONDITIONS)),
            (400, "InvalidArgument", Refused(Internal, ODD)),
            (200, "", Unknown(Internal, INCOMPLETE)),
        ];
        for (status, code, expected) in cases {
            let body = format!("<Error><Code>{code}</Code><Message>as it is</Message></Error>");
            let answer = Answer::new(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), &body);
            assert_eq!(meaning(&answer), expected, "{answer}");
        }
        let body = "<Error><Message>The specified bucket does not exist.</Message></Error>";
        let answer = Answer::new(StatusCode::NOT_FOUND, &HeaderMap::new(), body);
        assert_eq!(meaning(&answer), Refused(Configuration, BUCKET));
    }

    #[test]
    fn waits_are_read() {
        let wait = |name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            Answer::new(StatusCode::TOO_MANY_REQUESTS, &headers, "").retry_after
        };
        assert_eq!(wait("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("x-ms-retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(wait("retry-after", "soon"), None);
    }
}
