//! How a token is renewed by a service that answers once, and then not at all.

use super::*;
use object_store::client::{HttpError, HttpRequest, HttpResponse, HttpResponseBody, HttpService};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::time::advance;

const PATIENCE: Duration = Duration::from_secs(5);

/// Gives tokens that hold for 100 s, numbered, while it answers; how often a token was asked for is counted.
#[derive(Debug, Default)]
struct Service {
    asked: AtomicU32,
    answering: AtomicU32,
}

#[derive(Debug)]
struct Line(Arc<Service>);

#[async_trait]
impl HttpService for Line {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let text = match request.uri().path() {
            "/subject" => "of.the.cluster".to_owned(),
            _ => {
                let number = self.0.asked.fetch_add(1, Ordering::SeqCst) + 1;
                if number > self.0.answering.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                json!({"access_token": format!("token {number}"), "expires_in": 100}).to_string()
            }
        };
        Ok(HttpResponse::new(HttpResponseBody::from(text)))
    }
}

fn federated(service: &Arc<Service>) -> Federated {
    let configuration = json!({
        "audience": "//iam.googleapis.com/pool",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.example.org/token",
        "credential_source": {"url": "http://node.example.org/subject"},
    });
    let configuration: Configuration = serde_json::from_value(configuration).unwrap();
    let place = serde_json::from_value(configuration.credential_source.clone()).unwrap();
    let client = HttpClient::new(Line(Arc::clone(service)));
    Federated { configuration, place, client, patience: PATIENCE, held: Mutex::default() }
}

/// The token that is given, and after what time.
async fn given(federated: &Federated) -> (String, Duration) {
    let before = Instant::now();
    let credential = federated.get_credential().await.unwrap();
    (credential.bearer.clone(), before.elapsed())
}

#[tokio::test(start_paused = true)]
async fn while_the_service_hangs_the_token_that_still_holds_is_given_and_it_is_asked_now_and_then() {
    let service = Arc::new(Service::default());
    service.answering.store(1, Ordering::SeqCst);
    let federated = federated(&service);
    let asked = || service.asked.load(Ordering::SeqCst);
    assert_eq!(given(&federated).await, ("token 1".to_owned(), Duration::ZERO));
    advance(Duration::from_secs(74)).await;
    assert_eq!((given(&federated).await, asked()), (("token 1".to_owned(), Duration::ZERO), 1));
    // A quarter of its life is left: one call waits for the next one, not longer than it has time.
    advance(Duration::from_secs(1)).await;
    let calls = tokio::join!(given(&federated), given(&federated), given(&federated));
    let at_once = ("token 1".to_owned(), Duration::ZERO);
    assert_eq!(calls, (("token 1".to_owned(), PATIENCE), at_once.clone(), at_once.clone()));
    assert_eq!((given(&federated).await, asked()), (at_once.clone(), 2));
    advance(AGAIN).await;
    // A call that has no time is dropped; the next one does not wait again.
    timeout(PATIENCE / 5, federated.get_credential()).await.unwrap_err();
    assert_eq!((given(&federated).await, asked()), (at_once, 3));
    service.answering.store(u32::MAX, Ordering::SeqCst);
    advance(PATIENCE + AGAIN).await;
    assert_eq!(given(&federated).await, ("token 4".to_owned(), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_has_ended_is_not_given() {
    let service = Arc::new(Service::default());
    service.answering.store(1, Ordering::SeqCst);
    let federated = federated(&service);
    given(&federated).await;
    advance(Duration::from_secs(100)).await;
    timeout(PATIENCE * 10, federated.get_credential()).await.unwrap_err();
    service.answering.store(u32::MAX, Ordering::SeqCst);
    assert_eq!(given(&federated).await.0, "token 3");
}
