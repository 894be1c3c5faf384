"""Names and aliases of our devices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remus_ha.netbuf.base import VifRef
from remus_ha.netbuf.lease import Lease, ifb_name

WORD = st.text("abcdef0123456789-.", max_size=40)


@given(vif=WORD.filter(bool), guest=WORD, session=WORD)
def test_an_alias_says_what_the_lease_says(vif: str, guest: str, session: str) -> None:
    lease = Lease(vif, guest, session)
    assert Lease.parse(lease.alias()) == lease
    assert len(lease.alias()) < 256


@pytest.mark.parametrize("alias", [None, "", "uplink", "remus-ha", "remus-ha vif= guest= session="])
def test_another_alias_is_not_ours(alias: str | None) -> None:
    assert Lease.parse(alias) is None


@given(domid=st.integers(1, 0x7FEF), devid=st.integers(0, 999))
def test_names_fit_and_tell_vif_and_tap_apart(domid: int, devid: int) -> None:
    vif = VifRef(f"vif{domid}.{devid}", "", devid, domid)
    tap = VifRef(f"vif{domid}.{devid}-emu", "", devid, domid)
    assert ifb_name(vif) != ifb_name(tap)
    assert len(ifb_name(tap)) <= 15
