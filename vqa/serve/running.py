"""Listen until a signal ends the server: no new requests then, and time for those that run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import uvicorn

from vqa.serve.request_limits import TimedHeaders

if TYPE_CHECKING:
    from fastapi import FastAPI

GRACE_SECONDS = 30  # for answers on their way, once the server is to end
MAX_CONNECTIONS = 512


def run(app: FastAPI, host: str, port: int) -> None:
    """Serve `app`. A signal that ends it is raised again once all is closed."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=TimedHeaders,
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    uvicorn.Server(config).run()
