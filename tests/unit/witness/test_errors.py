from remus_ha.witness import errors

FACTS = {
    "store": "etcd://a:1/p", "why": "it is down", "key": "/p/k", "value": b"x", "url": "u",
    "driver": "d", "uuid": "u", "known": 1, "row": 2, "hosts": "b", "seconds": 3.0,
    "incarnation": "i", "others": "etcd://b",
}  # fmt: skip


def test_each_has_a_code_of_its_own_a_cause_and_a_remedy() -> None:
    found = errors.WitnessError.__subclasses__()
    assert len({kind.code for kind in found}) == len(found) >= 11
    for kind in found:
        error = kind(**FACTS)
        assert str(error).startswith(f"{kind.code}: ")
        assert len(error.advice) > 20
        assert error.as_dict()["code"] == kind.code
