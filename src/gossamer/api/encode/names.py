"""`gossamer.v1.NamesTable`."""

from __future__ import annotations

from gossamer.model.proxy_config import NamesTable
from gossamer.pb.v1 import names_pb2


def table(config: NamesTable) -> names_pb2.NamesTable:
    return names_pb2.NamesTable(
        names=[
            names_pb2.Name(name=name, addresses=[str(address) for address in addresses])
            for name, addresses in config.names.items()
        ],
        zones=config.zones,
        search=config.search,
        services=[
            names_pb2.ServiceName(
                name=name,
                targets=[names_pb2.ServiceTarget(name=target, port=port) for target, port in targets],
            )
            for name, targets in config.services.items()
        ],
    )
