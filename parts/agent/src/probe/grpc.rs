//! The health protocol of gRPC (`grpc.health.v1.Health/Check`).

use super::http::join;
use super::pace::Answer;
use crate::text::go_duration;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

/// Which service is asked about; empty: the whole server.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct Response {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Words of the protocol, by number.
const STATES: &[&str] = &["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
/// The one that is well.
const SERVING: i32 = 1;

/// Asks once.
pub(super) async fn check(host: &str, port: u16, service: &str, patience: Duration) -> Answer {
    let place = join(host, port);
    let within = go_duration(patience);
    let no_connection = |why: &dyn std::fmt::Display| {
        format!("error: failed to connect service at \"{place}\": {why}")
    };
    let endpoint = match Endpoint::from_shared(format!("http://{place}")) {
        Ok(endpoint) => endpoint.user_agent("kube-probe/1.36"),
        Err(error) => return Answer::Failure(no_connection(&error)),
    };
    let Ok(endpoint) = endpoint else {
        return Answer::Broken("the probe's name is no header".to_owned());
    };
    let work = async {
        let channel = match endpoint.connect().await {
            Ok(channel) => channel,
            Err(error) => return Answer::Failure(no_connection(&error)),
        };
        ask(channel, service).await
    };
    match tokio::time::timeout(patience, work).await {
        Ok(answer) => answer,
        Err(_) => Answer::Failure(format!(
            "timeout: failed to connect service \"{place}\" within {within}: context deadline exceeded"
        )),
    }
}

async fn ask(channel: Channel, service: &str) -> Answer {
    let mut client = Grpc::new(channel);
    if let Err(error) = client.ready().await {
        return Answer::Failure(format!("error: health rpc probe failed: {error}"));
    }
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let request = tonic::Request::new(Request { service: service.to_owned() });
    let codec: ProstCodec<Request, Response> = ProstCodec::default();
    match client.unary(request, path, codec).await {
        Ok(answer) => {
            let status = answer.into_inner().status;
            if status == SERVING {
                return Answer::Success;
            }
            let index = usize::try_from(status).unwrap_or(usize::MAX);
            let word = STATES.get(index).copied().unwrap_or("UNKNOWN");
            Answer::Failure(format!("service unhealthy (responded with \"{word}\")"))
        }
        Err(status) if status.code() == tonic::Code::Unimplemented => Answer::Failure(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
            status.message()
        )),
        Err(status) => Answer::Failure(format!(
            "error: health rpc probe failed: rpc error: code = {:?} desc = {}",
            status.code(),
            status.message()
        )),
    }
}
