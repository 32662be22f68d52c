"""What every kind of outbound route shares: backends, timeouts, and how long to wait before trying again."""

from __future__ import annotations

from gossamer.api.encode import destination, parts
from gossamer.model.proxy_config import Backend, Balance, Forward, Nowhere
from gossamer.model.traffic import Backoff, Timeouts
from gossamer.pb.linkerd import http_route_pb2, outbound_pb2

# Of a request that may be sent again, and between its attempts (reference §3.2).
RETRIED_BYTES = 64 * 1024
BETWEEN_RETRIES = Backoff(25, 250, 1.0)


def timeouts(limits: Timeouts) -> http_route_pb2.Timeouts:
    return http_route_pb2.Timeouts(
        request=parts.optional_duration(limits.request),
        response=parts.optional_duration(limits.response),
        idle=parts.optional_duration(limits.idle),
    )


def backoff(pause: Backoff, honor_retry_after: bool = False) -> outbound_pb2.ExponentialBackoff:
    return outbound_pb2.ExponentialBackoff(
        min_backoff=parts.duration(pause.minimum),
        max_backoff=parts.duration(pause.maximum),
        jitter_ratio=pause.jitter,
        respect_retry_after_hint=honor_retry_after,
    )


def backend(one: Backend) -> outbound_pb2.Backend:
    message = outbound_pb2.Backend(
        metadata=parts.meta(one.meta),
        queue=outbound_pb2.Queue(capacity=one.queue.capacity, failfast_timeout=parts.duration(one.queue.failfast)),
    )
    match one.to:
        case Balance():
            message.balancer.CopyFrom(_balance(one.to))
        case Forward(endpoint):
            message.forward.CopyFrom(destination.weighted_address(endpoint))
        case Nowhere():
            pass
    return message


def _balance(to: Balance) -> outbound_pb2.Backend.BalanceP2c:
    kinds = outbound_pb2.Backend
    found = kinds.EndpointDiscovery(dst=kinds.EndpointDiscovery.DestinationGet(path=to.authority))
    rtt, decay = parts.duration(to.default_rtt), parts.duration(to.decay)
    if to.penalty is None:
        return kinds.BalanceP2c(discovery=found, peak_ewma=kinds.BalanceP2c.PeakEwma(default_rtt=rtt, decay=decay))
    return kinds.BalanceP2c(
        discovery=found,
        penalty_peak_ewma=kinds.BalanceP2c.PenaltyPeakEwma(
            default_rtt=rtt,
            decay=decay,
            penalty=parts.duration(to.penalty.penalty),
            max_retry_after=parts.duration(to.penalty.max_retry_after),
            penalty_decay=parts.duration(to.penalty.decay),
        ),
    )
