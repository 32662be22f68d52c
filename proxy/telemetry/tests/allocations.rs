//! What is counted for every request allocates nothing.

use std::time::Instant;

use kernel::count::allocations;
use telemetry::{Author, Direction, Dst, EdgeKey, Protocol, Reason, Registry, Response, Tls};

#[test]
fn counting_a_request_allocates_nothing() {
    const REQUESTS: u32 = 100_000;
    let registry = Registry::new(0);
    let dst = Dst::Service { namespace: "default".into(), service: "web".into(), port: 80 };
    let key = EdgeKey::new(Direction::Outbound, Protocol::Http2, Tls::Mesh, dst);
    let edge = registry.edge(key.clone());
    let (before, _) = allocations();
    let started = Instant::now();
    for n in 0..REQUESTS {
        edge.request();
        edge.read(100);
        edge.written(1_000);
        let failure = (n % 10 == 0).then_some((Author::Outbound, Reason::Timeout));
        edge.response(Response { status: 200, grpc_status: None, latency_us: u64::from(n), failure });
    }
    let took = started.elapsed() / REQUESTS;
    let (counted, _) = allocations();
    let again = registry.edge(key.clone());
    drop(key);
    let (looked_up, _) = allocations();
    // The test runner's own thread may allocate meanwhile: what a request does would show REQUESTS times.
    assert_eq!(
        ((counted - before) / u64::from(REQUESTS), (looked_up - counted) / 8),
        (0, 0),
        "nor does finding an edge again"
    );
    drop(again);
    println!("{} ns a request", took.as_nanos());
}
