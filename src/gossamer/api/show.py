"""A configuration as protobuf JSON, as a sidecar is sent it: for people who compare and diagnose."""

from __future__ import annotations

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from gossamer.api.encode import destination, endpoints, inbound, names, outbound
from gossamer.api.encode import own as encoded
from gossamer.model.proxy_config import Config, EndpointSet, InboundConfig, NamesTable, OutboundConfig, ProfileConfig


def show(config: Config) -> str:
    """JSON text; "" for what is no configuration (not found, invalid)."""
    if isinstance(config, EndpointSet):
        return "\n".join(_json(update) for update in destination.updates(None, config))
    message: Message
    match config:
        case InboundConfig():
            message = inbound.server(config)
        case OutboundConfig():
            message = outbound.policy(config)
        case ProfileConfig():
            message = destination.profile(config)
        case NamesTable():
            message = names.table(config)
        case _:
            return ""
    return _json(message)


def metadata(config: EndpointSet) -> str:
    """What `gossamer.v1.Endpoints` says of the same answer."""
    return _json(endpoints.metadata(config))


def own(config: InboundConfig | OutboundConfig) -> str:
    """What `gossamer.v1` says of the same answer."""
    message = encoded.inbound_config(config) if isinstance(config, InboundConfig) else encoded.outbound_config(config)
    return _json(message)


def whole(config: Config) -> str:
    """As `show`, with what only sidecars of Gossamer's are told: what changes there changes something."""
    return own(config) if isinstance(config, InboundConfig | OutboundConfig) else show(config)


def _json(message: Message) -> str:
    return MessageToJson(message, preserving_proto_field_name=True, sort_keys=True)
