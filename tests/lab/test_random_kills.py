"""Every process of ours is killed, in an order that a number decides, and one guest lives on."""

import os
import random

from tests.lab.support import processes
from tests.lab.support.protection import ENDS, Protection
from tests.lab.support.stage import HOSTS, Stage

ROUNDS = int(os.environ.get("REMUS_HA_KILL_ROUNDS", "50"))
SEED = int(os.environ.get("REMUS_HA_KILL_SEED", "1"))
MOST_KILLS = 4
PRIMARYS, BACKUPS = ("process", "guardian"), ("receiver", "keeper", "restore")


def _kill_some(stage: Stage, p: Protection, dice: random.Random) -> list[str]:
    """What has been killed, in turn; a role of which none or two run just then is passed over."""
    victims = [(p.primary, role) for role in PRIMARYS] + [(p.backup, role) for role in BACKUPS]
    done = []
    for name, role in dice.sample(victims, dice.randint(1, MOST_KILLS)):
        found = processes.pids(stage.host(name), role)
        if len(found) == 1:
            stage.host(name).shell.run(f"kill -KILL {found[0]}", check=False)
            done.append(f"{role} on {name}")
    return done


def _settle(stage: Stage, p: Protection) -> None:
    """Both sides have ended; where the guest is then, is where it has to live."""
    for name in HOSTS:
        stage.host(name).shell.run("remus-ha cleanup", timeout_s=300)
    shell = stage.host(p.primary).shell
    if p.guest.uuid in shell.text("remus-ha status"):
        shell.run(f"remus-ha unprotect {p.guest.name}", check=False)
        p.log_primary.wait(ENDS)
    if not p.guest.uuid_on(p.primary):
        stage.moved(p.guest, p.backup)


def test_in_random_order(stage: Stage) -> None:
    """After each round the guest answers, is in one place, and cleanup has nothing to say."""
    dice = random.Random(SEED)
    for number in range(ROUNDS):
        guest = stage.guest()
        with Protection(stage, guest) as p:
            p.wait_checkpoints(dice.randint(0, 3))
            print(f"round {number}: {', '.join(_kill_some(stage, p, dice))}")
            _settle(stage, p)
            places = [name for name in HOSTS if guest.uuid_on(name)]
            assert places == [guest.host], f"round {number}: {places}"
            guest.clients.wait_answers()
        stage.assert_clean()
        stage.judge()
