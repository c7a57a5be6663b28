#!/usr/bin/env python3
"""Health check of a container: `wetread-alive PORT PATH` exits 0 when our service answers 200 there."""

import http.client
import sys


def main() -> int:
    """0 when the path answers 200 within five seconds, else 1."""
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=5)
    try:
        connection.request("GET", sys.argv[2])
        return 0 if connection.getresponse().status == 200 else 1
    except OSError:
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
