"""Names and aliases of our devices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remus_ha.netbuf.base import VifRef
from remus_ha.netbuf.lease import LONGEST_SCRIPT, Lease, ifb_name
from remus_ha.netbuf.script import VifScript

WORD = st.text("abcdef0123456789-.", max_size=40)


@given(vif=WORD.filter(bool), guest=WORD, session=WORD)
def test_an_alias_says_what_the_lease_says(vif: str, guest: str, session: str) -> None:
    lease = Lease(vif, guest, session)
    assert Lease.parse(lease.alias()) == lease
    assert len(lease.alias()) < 256


@given(
    path=st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=90),
    devid=st.integers(0, 0xFFFF),
)
def test_an_alias_says_which_script_has_made_the_device(path: str, devid: int) -> None:
    lease = Lease("vif7.0", "guest", "", VifScript(path, "vif7.0", 7, devid))
    assert Lease.parse(lease.alias()) == lease


def test_the_longest_path_fits() -> None:
    script = VifScript("/" * LONGEST_SCRIPT, "v" * 15, 0x7FEF, 0xFFFF)
    assert len(Lease("v" * 15, "g" * 36, "s" * 32, script).alias()) == 255
    assert LONGEST_SCRIPT > 100


@pytest.mark.parametrize("alias", [None, "", "uplink", "remus-ha", "remus-ha vif= guest= session="])
def test_another_alias_is_not_ours(alias: str | None) -> None:
    assert Lease.parse(alias) is None


@given(domid=st.integers(1, 0x7FEF), devid=st.integers(0, 999))
def test_names_fit_and_tell_vif_and_tap_apart(domid: int, devid: int) -> None:
    vif = VifRef(f"vif{domid}.{devid}", "", devid, domid)
    tap = VifRef(f"vif{domid}.{devid}-emu", "", devid, domid)
    assert ifb_name(vif) != ifb_name(tap)
    assert len(ifb_name(tap)) <= 15
