//! Backends and how traffic is spread over them.

use std::sync::Arc;
use std::time::Duration;

use linkerd2_proxy_api::outbound as proto;
use rules::outbound::{Accrual, Backend, Backoff, Ewma, Queue, Target};

use crate::http::{is_text, required_duration};
use crate::invalid::{Invalid, Why, check, optional, required, within};
use crate::{destination, meta, net};

pub(crate) const MAX_BACKENDS: usize = 256;

pub(crate) fn backend(backend: &proto::Backend) -> Result<Arc<Backend>, Invalid> {
    use proto::backend::Kind;
    let meta = within("metadata", &backend.metadata, meta::meta)?;
    let target = match &backend.kind {
        // How controllers say that the backend does not exist, and what a kind unknown to this version looks like.
        None => Target::Fail(format!("the backend {} cannot be used", meta.name()).into()),
        Some(Kind::Forward(address)) => {
            Target::Forward(destination::endpoint(address).map_err(|it| it.within("forward"))?)
        }
        Some(Kind::Balancer(balancer)) => balance(balancer).map_err(|invalid| invalid.within("balancer"))?,
    };
    let queue = match &backend.queue {
        None => Queue::default(),
        Some(queue) => Queue {
            capacity: queue.capacity,
            failfast: match &queue.failfast_timeout {
                None => Queue::default().failfast,
                Some(timeout) => net::duration(timeout).map_err(|it| it.within("queue.failfast_timeout"))?,
            },
        },
    };
    Ok(Arc::new(Backend { meta, target, queue }))
}

fn balance(balancer: &proto::backend::BalanceP2c) -> Result<Target, Invalid> {
    use proto::backend::{balance_p2c::Load, endpoint_discovery};
    let discovery = required("discovery", &balancer.discovery)?;
    let endpoint_discovery::Kind::Dst(dst) = required("discovery.kind", &discovery.kind)?;
    let authority = check("discovery.dst.path", dst.path.as_str().into(), Why::Malformed, is_text(&dst.path))?;
    let ewma = match required("load", &balancer.load)? {
        Load::PeakEwma(ewma) => Ewma {
            default_rtt: required_duration("default_rtt", &ewma.default_rtt)?,
            decay: required_duration("decay", &ewma.decay)?,
        },
        Load::PenaltyPeakEwma(ewma) => Ewma {
            default_rtt: optional("default_rtt", &ewma.default_rtt, net::duration)?
                .unwrap_or(Ewma::default().default_rtt),
            decay: optional("decay", &ewma.decay, net::duration)?.unwrap_or(Ewma::default().decay),
        },
    };
    Ok(Target::Balance { authority, ewma })
}

/// Zero failures means that nothing breaks the circuit (reference §7.13 for what makes the whole policy invalid).
pub(crate) fn accrual(accrual: &proto::FailureAccrual) -> Result<Accrual, Invalid> {
    use proto::failure_accrual::Kind;
    Ok(match required("kind", &accrual.kind)? {
        Kind::ConsecutiveFailures(consecutive) => Accrual::Consecutive {
            max_failures: consecutive.max_failures,
            backoff: within("backoff", &consecutive.backoff, backoff)?,
        },
        Kind::Unified(unified) => {
            let rate = unified.success_rate_threshold;
            let window = required_duration("decay", &unified.decay)?;
            Accrual::Unified {
                success_rate: check("success_rate_threshold", rate, Why::OutOfRange, (0.0..=1.0).contains(&rate))?,
                window: check("decay", window, Why::OutOfRange, window >= Duration::from_millis(10))?,
                min_requests: check(
                    "min_requests",
                    unified.min_requests,
                    Why::OutOfRange,
                    unified.min_requests <= 1_000_000,
                )?,
                max_failures: unified.max_consecutive_failures,
                backoff: within("backoff", &unified.backoff, backoff)?,
            }
        }
    })
}

pub(crate) fn backoff(proto: &proto::ExponentialBackoff) -> Result<Backoff, Invalid> {
    let min = required_duration("min_backoff", &proto.min_backoff)?;
    let max = required_duration("max_backoff", &proto.max_backoff)?;
    let jitter = proto.jitter_ratio;
    Ok(Backoff {
        min,
        max: check("max_backoff", max, Why::OutOfRange, min <= max)?,
        jitter: check("jitter_ratio", jitter, Why::OutOfRange, (0.0..=100.0).contains(&jitter))?,
    })
}

/// Each kind of route has a distribution, a route backend and filters of its own, all alike.
macro_rules! distribution {
    ($name:ident, $module:ident, $filter:path) => {
        pub(crate) fn $name(
            distribution: &proto::$module::Distribution,
        ) -> Result<rules::outbound::Distribution, Invalid> {
            use proto::$module::distribution::Kind;
            let one = |route: &proto::$module::RouteBackend| {
                Ok(rules::outbound::RouteBackend {
                    backend: crate::invalid::within("backend", &route.backend, crate::backend::backend)?,
                    filters: crate::invalid::each("filters", &route.filters, crate::http::MAX_FILTERS, $filter)?.into(),
                })
            };
            let limit = crate::backend::MAX_BACKENDS;
            Ok(match crate::invalid::required("kind", &distribution.kind)? {
                Kind::Empty(_) => rules::outbound::Distribution::Empty,
                Kind::FirstAvailable(first) => rules::outbound::Distribution::FirstAvailable(
                    crate::invalid::each("first_available.backends", &first.backends, limit, one)?.into(),
                ),
                Kind::RandomAvailable(random) => {
                    let weighted = |weighted: &proto::$module::WeightedRouteBackend| {
                        Ok((weighted.weight, crate::invalid::within("backend", &weighted.backend, one)?))
                    };
                    rules::outbound::Distribution::Random(
                        crate::invalid::each("random_available.backends", &random.backends, limit, weighted)?.into(),
                    )
                }
            })
        }
    };
}
pub(crate) use distribution;
