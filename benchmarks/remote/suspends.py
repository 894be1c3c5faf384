"""Prints CLOCK_MONOTONIC whenever a domain is asked to suspend, until standard input ends.

The one instrument for both contenders: libxl and remus_ha ask in the same way, by writing to
``control/shutdown``, which the guest's kernel empties. So there are two events per request, and
the first of each two is the request. Argument: the domain's id. Says ``ready`` first.
"""

import select
import sys
import time


def main(domid: str) -> None:
    from xen.lowlevel import xs  # noqa: PLC0415  (there is none but in dom0)

    store = xs.xs()
    store.watch(f"/local/domain/{domid}/control/shutdown", "request")
    store.read_watch()  # every watch fires once when it is set
    print("ready", flush=True)
    request = True
    while sys.stdin not in select.select([sys.stdin, store.fileno()], [], [])[0]:
        while store.check_watch() is not None:
            if request:
                print(time.monotonic(), flush=True)
            request = not request


if __name__ == "__main__":
    main(*sys.argv[1:])
