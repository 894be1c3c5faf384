"""Why a guest cannot be moved to its backup on request."""

from remus_ha.exceptions import RemusError


class FailoverState(RemusError):
    code = "PROTECT-030"
    cause = "'{name}' is {state}: only a protected guest can be moved to its backup"
    remedy = "Wait until 'remus-ha status' says protected; nothing was changed."


class FailoverUnknown(RemusError):
    code = "PROTECT-031"
    cause = "the release of remus_ha on '{host}' knows no planned failover"
    remedy = "Install the same release on both hosts and protect the guest again."


class FailoverPaused(RemusError):
    code = "PROTECT-032"
    cause = "'{name}' is paused, so no last epoch could end"
    remedy = "Unpause it ('xl unpause {name}') and ask again; nothing was changed."
