//! A request for the status of the fleet or of a hub becomes a page, or a document.

use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::App;
use crate::{
    handler::{HandlerError, HttpResponse, HttpTrigger, InvocationResponse},
    status::{self, Ask, FleetView, HubView, Links, Mistake, Sources},
};

/// The name of the answer's binding.
const ANSWER: &str = "res";

/// What was found.
#[expect(clippy::large_enum_variant, reason = "made once for each request and taken apart at once")]
enum View {
    Fleet(FleetView),
    Hub(HubView),
}

impl App {
    /// The page.
    pub(super) async fn status(&self, request: &HttpTrigger) -> Result<InvocationResponse, HandlerError> {
        let links = Links::of(request);
        let (status, page) = match self.view(request).await {
            Ok(View::Fleet(view)) => (StatusCode::OK, status::fleet_page(&view, &links)),
            Ok(View::Hub(view)) => (StatusCode::OK, status::hub_page(&view, &links)),
            Err(mistake) => (mistake.status, status::mistake_page(&mistake, &links)),
        };
        let answer = HttpResponse::html(status, page)
            .header("Content-Security-Policy", status::content_security_policy());
        Ok(answered(answer))
    }

    /// The document.
    pub(super) async fn hubs(&self, request: &HttpTrigger) -> Result<InvocationResponse, HandlerError> {
        let answer = match self.view(request).await {
            Ok(View::Fleet(view)) => document(StatusCode::OK, &view)?,
            Ok(View::Hub(view)) => document(StatusCode::OK, &view)?,
            Err(mistake) => {
                let status = mistake.status.as_u16();
                let problem = json!({"title": mistake.title(), "status": status, "detail": mistake.detail});
                document(mistake.status, &problem)?.header("Content-Type", "application/problem+json")
            }
        };
        Ok(answered(answer))
    }

    async fn view(&self, request: &HttpTrigger) -> Result<View, Mistake> {
        let ask = Ask::read(request)?;
        let state = self.profiles.current().await.map_err(|error| error.to_string());
        let sources = Sources {
            state: state.as_deref().map_err(String::as_str),
            arm: &self.arm,
            store: self.store.as_deref(),
            parked: self.parked.as_deref(),
        };
        match ask {
            Ask::Fleet(filter) => sources.fleet(filter).await.map(View::Fleet),
            Ask::Hub(hub) => Box::pin(sources.hub(hub)).await.map(View::Hub),
        }
    }
}

fn document(status: StatusCode, value: &impl Serialize) -> Result<HttpResponse, HandlerError> {
    HttpResponse::json(status, value).map_err(HandlerError::permanent)
}

/// Nobody keeps it, nobody guesses what it is, and no address is told to anybody else: it may hold a key.
fn answered(answer: HttpResponse) -> InvocationResponse {
    let answer = answer
        .header("Cache-Control", "no-store")
        .header("X-Content-Type-Options", "nosniff")
        .header("Referrer-Policy", "no-referrer");
    InvocationResponse::new().http(ANSWER, answer)
}
