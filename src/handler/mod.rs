//! A runtime for Azure Functions custom handlers: the host's protocol in, typed triggers out.
//!
//! Knows nothing of hubs. It is to the Functions host what `lambda_runtime` is to AWS Lambda.
//!
//! # The protocol in ten lines
//!
//! 1. The host starts the process named in `host.json` (`customHandler`) and gives it a port.
//! 2. It asks `GET http://127.0.0.1:<port>/` every 25 ms; any answer, whatever its status, is "ready".
//! 3. Each call is `POST /<FunctionName>` with `{"Data":{…},"Metadata":{…}}`, often chunked.
//! 4. `Data` holds the bindings by name, `Metadata` what the host knows about the trigger.
//! 5. Objects come inline, everything else as JSON in a string: see [`invocation`].
//! 6. `X-Azure-Functions-InvocationId` names the call; `traceparent` comes while the host traces.
//! 7. The answer is 200 and `{"Outputs":{…},"Logs":[…],"ReturnValue":…}`; anything empty is waited
//!    for until the time is up: see [`response`].
//! 8. Any other status is a failure, and the trigger's rules (redelivery, poison queue) apply.
//! 9. After `functionTimeout` the host kills the process with all its calls: hence our own deadline.
//! 10. It stops the process with SIGKILL, and after exit code 0 never starts it again.
//!
//! Sources: <https://learn.microsoft.com/azure/azure-functions/functions-custom-handlers>, and, where
//! that page and the code differ, the code in <https://github.com/Azure/azure-functions-host>:
//! `DefaultHttpWorkerService.cs`, `HttpWorkerProcess.cs`, `ScriptInvocationContextExtensions.cs`,
//! `HttpScriptInvocationResultExtensions.cs`.
//!
//! # A function
//!
//! ```
//! use hubward::handler::{
//!     HandlerError, InvocationContext, InvocationResponse, OutputMessage, QueueTrigger, Runtime,
//! };
//!
//! /// Passes each message of a queue on, unless it is empty.
//! async fn forward(message: QueueTrigger, _: InvocationContext) -> Result<InvocationResponse, HandlerError> {
//!     if message.text.is_empty() {
//!         return Err(HandlerError::permanent("the message is empty"));
//!     }
//!     let message = OutputMessage::text(message.text).map_err(HandlerError::permanent)?;
//!     Ok(InvocationResponse::new().send("next", message).log("passed on"))
//! }
//!
//! let router = Runtime::new().function("Forward", forward).into_router();
//! # let _ = router;
//! // let listener = hubward::handler::bind(port).await?;
//! // hubward::handler::serve(listener, router).await?;
//! ```

pub mod error;
pub mod http_trigger;
pub mod invocation;
pub mod metadata;
pub mod response;
pub mod runtime;
pub mod service_bus;
pub mod trace;
pub mod trigger;

pub use error::HandlerError;
pub use http_trigger::{HttpHeaders, HttpIdentity, HttpTrigger};
pub use invocation::{DecodeError, EnvelopeError, Invocation, InvocationHead};
pub use metadata::{Metadata, RetryContext};
pub use response::{HttpResponse, InvocationResponse, OutputMessage};
pub use runtime::{FunctionOptions, InvocationContext, Runtime, bind, serve};
pub use service_bus::{ServiceBusBatch, ServiceBusTrigger};
pub use trace::TraceParent;
pub use trigger::{EventGridTrigger, FromInvocation, QueueTrigger, ScheduleStatus, TimerTrigger};
