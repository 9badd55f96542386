"""Scripts: every file under tests/scripts is as it says; the interpreter says what is wrong with one that is not."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netledger import Controller
from netledger.domain.commands import Command, CreateNetwork, DeleteNetwork, PoolRequest, RecordBoot
from netledger.domain.errors import Refusal
from netledger.domain.events import EVENT_TYPES, Origin
from netledger.domain.facts import NamespaceIdentity
from netledger.domain.values import SandboxKind
from netledger.testing import scripts
from netledger.testing.author import ADDRESS_KINDS, GROUND, KINDS, MTU, Author, Seeded, Universe
from netledger.testing.desk import Desk, create_endpoint, create_network, create_sandbox, identifier, join
from netledger.testing.scripts.__main__ import main
from netledger.testing.scripts.files import run_file
from netledger.testing.scripts.grammar import USAGE, quote, read
from netledger.testing.scripts.telling import _SENTENCES
from netledger.testing.strategies import Drawn, histories, numbers

FILES = sorted((Path(__file__).parents[1] / "scripts").glob("*.txt"))

SHOP = "network create shop --subnet 10.1.0.0/24\n"


@pytest.fixture
def stage(tmp_path):
    """Give a stage."""
    with scripts.Stage(tmp_path / "state") as on:
        yield on


@pytest.fixture
def outcome(stage):
    """Give a function that carries out lines on one stage and returns what comes."""

    def run(text: str) -> list[str]:
        program = scripts.parse(text + "\n----\nnothing like this\n")
        return [line for difference in scripts.run(program, stage) for line in difference.outcome]

    return run


# --- the files


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_script_has_the_outcome_that_it_says(path):
    """Each file of tests/scripts, on a stage of its own. To accept another outcome, see what is printed."""
    _, differences = run_file(path)
    assert not differences, "\n" + "\n".join(map(str, differences))


def test_there_are_scripts_and_each_says_what_it_is_about():
    """A dozen at least, each beginning with a sentence, each with a check of every invariant."""
    assert len(FILES) >= 12
    for path in FILES:
        text = path.read_text()
        assert text.startswith("# "), path
        assert re.search(r"^check$", text, re.MULTILINE), path
        assert "\n...\n" not in text, f"{path}: an outcome that may be anything tests nothing"


def test_the_scripts_use_every_command():
    """What can be written is written somewhere, but for what reproductions alone need."""
    used = {line.verb for path in FILES for block in scripts.parse(path.read_text()).blocks for line in block.lines}
    known = {read_verb(line) for line in USAGE.splitlines()}
    assert known - used <= {"command", "sandbox lose"}


def read_verb(usage: str) -> str:
    """Give the words of a usage line."""
    return re.match(r"[a-z]+( [a-z]+(?![|a-z]))*", usage)[0]


# --- what is read


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("network destroy shop", "x:2: there is no command 'network destroy'; known: network create, network rm"),
        ("netwrok create shop", "x:2: there is no command 'netwrok create'; known: network create"),
        ("network create shop --colour red", "x:2: there is no option --colour: network create NAME [--driver DRIVER]"),
        ("network create", "x:2: too few words: network create NAME"),
        ("endpoint leave a b", "x:2: too many words: endpoint leave ENDPOINT"),
        ("network create shop --subnet", "x:2: --subnet takes a value"),
        ("network create shop --internal=yes", "x:2: --internal takes no value"),
        ("network create a --driver b --driver c", "x:2: --driver is given twice"),
        ("show everything", "x:2: unknown: everything; show networks|endpoints|sandboxes|addresses|ports"),
        ("network create 'shop", "x:2: network create 'shop: No closing quotation"),
        ("----", "x:2: there is no command above this ----"),
    ],
)
def test_what_is_no_script_is_refused_with_what_is_known(text, words):
    """The file, the line, what is wrong with it, and how it is written."""
    with pytest.raises(scripts.ScriptError) as caught:
        scripts.parse(f"# a comment\n{text}\n", "x")
    assert str(caught.value).startswith(words)


def test_a_program_knows_its_lines():
    """Comments and blank lines are none; several lines are one block; an outcome ends at a blank line."""
    program = scripts.parse("# one\nmatrix\n# two\ncheck\n\n\nobjects\n----\na\n b\n\nshow ports\n----\n\ndrift\n")
    blocks = [([line.verb for line in block.lines], block.expected) for block in program.blocks]
    assert blocks == [
        (["matrix", "check"], None),
        (["objects"], ("a", " b")),
        (["show"], ()),
        (["drift"], None),
    ]
    assert [line.number for block in program.blocks for line in block.lines] == [2, 4, 7, 12, 15]


@given(st.text(max_size=20))
def test_any_word_can_be_written(word):
    """What is quoted is read as it was, on one line, whatever is in it."""
    line = f"network create {quote(word)}"
    assert "\n" not in line
    if not word.startswith("-") or word == "-":
        assert read(line).places == (word,)


def test_options_are_written_as_on_the_command_line():
    """Short names, `=`, repetition and order are the command line's."""
    line = read("endpoint create -p 80 shop web --publish=81:81/udp --alias a --alias b")
    assert line.places == ("shop", "web")
    assert line.all("--publish") == ("80", "81:81/udp")
    assert line.all("--alias") == ("a", "b")
    assert read("network rm a b -f").has("--force")


# --- what comes


def test_a_wrong_expectation_is_shown_with_its_place_and_how_to_accept_it(stage):
    """The line, a unified diff, and the command."""
    program = scripts.parse(f"{SHOP}----\nPoolAllocated 10.2.0.0/24 for shop\n", "mine.txt")
    (difference,) = scripts.run(program, stage)
    told = str(difference).splitlines()
    assert told[0] == "mine.txt:1: network create shop --subnet 10.1.0.0/24"
    assert "    -PoolAllocated 10.2.0.0/24 for shop" in told
    assert "    +PoolAllocated 10.1.0.0/24 for shop" in told
    assert "    +NetworkCreated shop 10.1.0.0/24 via 10.1.0.1" in told
    assert told[-1] == "  to accept what came: python -m netledger.testing.scripts --accept mine.txt"


def test_a_missing_and_a_superfluous_line_are_differences(stage):
    """An outcome is expected as a whole: nothing more, nothing less, in its order."""
    lines = ["PoolAllocated 10.1.0.0/24 for shop", "AddressAllocated 10.1.0.1 for shop as gateway"]
    last = "NetworkCreated shop 10.1.0.0/24 via 10.1.0.1"
    for wrong in ([*lines], [*lines, last, last], [last, *lines]):
        program = scripts.parse(f"{SHOP}----\n" + "\n".join(wrong) + "\n\nnetwork rm shop\n")
        assert len(scripts.run(program, stage)) == 1
    right = scripts.parse(f"{SHOP}----\n" + "\n".join([*lines, last]) + "\n")
    assert not scripts.run(right, stage)


def test_a_block_without_an_outcome_has_to_go_well(stage):
    """What sets something up is compared with nothing, but a refusal in it is shown."""
    program = scripts.parse(f"{SHOP}\nendpoint create shop web --ip 10.9.0.1\n\nnetwork rm shop\n")
    (difference,) = scripts.run(program, stage)
    assert "script:3: endpoint create shop web --ip 10.9.0.1" in str(difference)
    assert "    refused: invalid: create endpoint 'web': address 10.9.0.1 is in none" in str(difference)
    assert "this did not go well" in str(difference)


def test_dots_alone_are_any_outcome(stage):
    """Of a block that nobody has accepted an outcome for yet, such as in a reproduction."""
    assert not scripts.run(scripts.parse(f"{SHOP}{SHOP}----\n...\n"), stage)
    assert scripts.run(scripts.parse("network rm shop\n----\n...\nNetworkDeleted shop\n"), stage)


def test_the_same_script_has_the_same_outcome(tmp_path):
    """Ids, MAC addresses, chosen ports and blocks are the same on every stage."""
    text = (
        "network create a --ipv6\nsandbox create c\nendpoint create a e --publish 80\nendpoint join a/e c\n"
        "objects\nshow ports\nnetwork rm nothing\n----\n\n"
    )
    outcomes = set()
    for number in range(2):
        with scripts.Stage(tmp_path / str(number)) as on:
            (difference,) = scripts.run(scripts.parse(text), on)
            outcomes.add(difference.outcome)
    (outcome,) = outcomes
    assert not any(re.search(r"[0-9a-f]{12}", line) for line in outcome), "an id is told instead of a name"


def test_values_that_are_none_are_refused_and_the_next_line_is_carried_out(outcome):
    """Each line is by itself."""
    told = outcome(
        "network create a --subnet 10.1\nnetwork create a --allocation random\nnetwork create a --opt colour\n"
        "network create a --allocation next --allocation lowest\nsandbox create c --kind borrowed\n"
        "sandbox create c --identity x\ncommand '{}'\nnetwork create b\nendpoint create b e\nsandbox create c\n"
        "endpoint join b/e c --priority high\nnetwork create a --opt 'mtu=\"1'"
    )
    assert [line.split(": ")[1:3] for line in told if line.startswith("refused")] == [
        ["invalid", "subnet '10.1'"],
        ["invalid", "allocation 'random'"],
        ["invalid", "--opt 'colour'"],
        ["invalid", "2 times --allocation"],
        ["invalid", "sandbox kind 'borrowed'"],
        ["invalid", "namespace identity 'x'"],
        ["invalid", "command"],
        ["invalid", "--priority 'high'"],
        ["invalid", 'value "1'],
    ]
    assert "NetworkCreated b 172.17.0.0/16 via 172.17.0.1" in told


def test_events_of_the_world_are_checked(outcome):
    """A fault, an object, a namespace and a question that make no sense are refused in words."""
    told = outcome(
        "fail bridge/* EVERYTHING\nfail bridge/* EPERM --times none\nnetns rm /run/netns/a\nreach a b\n"
        "reach host host --family 5\nkernel remove bridge/*\nmatrix\nbatch"
    )
    assert [line.split(": ")[1:3] for line in told[:6]] == [
        ["invalid", "errno 'EVERYTHING'"],
        ["invalid", "--times none"],
        ["not found", "namespace '/run/netns/a'"],
        ["not found", "reach from 'a'"],
        ["invalid", "--family 5"],
        ["not found", "object 'bridge/*'"],
    ]
    assert told[-1] == "refused: invalid: batch: it is not the first line of its block; put a blank line above it"


def test_interfaces_of_others_are_checked(outcome):
    """Only bridges of others have addresses here; what is to be unplugged is there, and is."""
    told = outcome(
        "kernel add lan0 --address 10.1.0.1/24\nkernel add lan0 --bridge --address 10.1.0.1\n"
        "kernel add lan0 --bridge --address 10.1.0.1/33\nkernel unplug lan0\n"
        "kernel add lan0 --bridge --address 10.1.0.1/24\nkernel unplug lan0\nkernel unplug lan0"
    )
    assert told == [
        "refused: invalid: kernel add lan0 --address 10.1.0.1/24: only a bridge has addresses here; give --bridge, too",
        "refused: invalid: address '10.1.0.1': not ADDRESS/PREFIX; write it like 10.5.0.1/16",
        "refused: invalid: address '10.1.0.1/33': not ADDRESS/PREFIX; write it like 10.5.0.1/16",
        "refused: not found: interface 'lan0': it is not in the host's namespace; there are lo, eth0",
        "refused: not found: interface 'lan0': it is not in the host's namespace; there are lo, eth0",
    ]


def test_endpoints_options_are_written_in_words():
    """Settings have an option of their own, further addresses and routes, too; a range is a port for each number."""
    desk = Desk()
    line = (
        "endpoint create n1 e1 --publish 8000-8001:80/tcp --opt com.docker.network.endpoint.ifname=lan "
        "--sysctl net.ipv4.conf.IFNAME.forwarding=0 --sysctl net.ipv4.conf.IFNAME.log_martians=1 --link-local fe80::7"
    )
    (command,) = again(line, desk.views)
    assert line.partition(" e1 ")[2] in scripts.render(command)
    (command,) = again("endpoint create n1 e1 --publish 8000-8001:80-81", desk.views)
    assert " --publish 8000:80/tcp --publish 8001:81/tcp " in scripts.render(command)
    (command,) = again(
        "endpoint join n1/e1 c1 --gw-priority 3 --route 10.9.0.0/16=10.1.0.1 --route fd09::/32", desk.views
    )
    assert scripts.render(command).endswith(" --priority 3 --route 10.9.0.0/16=10.1.0.1 --route fd09::/32")


def test_files_of_sandboxes_are_written_in_words():
    """Names, servers, search domains, options and paths; files alone are asked for by themselves."""
    named = "--add-host db:10.1.0.9 --add-host db6:fd00::9 --dns 10.1.0.53 --dns fd00::53"
    others = "--dns-search . --dns-option ndots:2 --hosts-path /srv/hosts --resolv-conf-path /srv/resolv.conf"
    for words in ("--files", named, f"{named} {others}"):
        line = f"sandbox create c1 {words}"
        (command,) = again(line, Desk().views)
        assert scripts.render(command) == line


def test_a_pool_is_known_by_its_block_where_one_alone_has_it():
    """Else by space and block, and what is no pool's is an id."""
    desk = Desk()
    desk.do(*again("ipam pool request a --subnet 10.1.0.0/24", desk.views))
    assert scripts.render(*again("ipam pool release 10.1.0.0/24", desk.views), desk.views).endswith(" 10.1.0.0/24")
    desk.do(*again("ipam pool request a --subnet 10.1.0.0/24 --address-space red", desk.views))
    (command,) = again("ipam pool release red/10.1.0.0/24 --lease a", desk.views)
    assert command.pool == "host1/red/10.1.0.0/24"
    assert scripts.Writer(["a"]).line(command, desk.views) == "ipam pool release red/10.1.0.0/24 --lease a"
    (command,) = again("ipam pool release 10.1.0.0/24", desk.views)
    assert command.pool == "10.1.0.0/24"


def test_settings_that_are_left_out_stay_as_they_are(outcome):
    """As on the command line."""
    lines = ("--pool 10.64.0.0/16,28 --retention 5", "--retention 7", "--docker-pools")
    assert outcome("\n".join(f"ipam configure {line}" for line in lines)) == [
        "ConfigurationChanged 10.64.0.0/16 in /28, leases kept for 5 s",
        "ConfigurationChanged 10.64.0.0/16 in /28, leases kept for 7 s",
        "ConfigurationChanged libnetwork's pools, leases kept for 7 s",
    ]


@pytest.mark.parametrize("value", ["1400", "true", "", '"', 'a "word"', "ü\n", 1400, 0, True, False])
def test_values_keep_their_type(value):
    """A text that looks like a number or a truth is written in quotes, and is no such value when it is read again."""
    command = create_network("n1", options={MTU: value})
    line = scripts.render(command)
    assert not line.startswith("command ")
    (read_again,) = again(line, Desk().views)
    assert read_again.options == {MTU: value}
    assert type(read_again.options[MTU]) is type(value)


def test_a_batch_is_for_commands_alone(outcome):
    """A question in a batch is refused, and nothing of the batch is carried out."""
    assert outcome(f"batch\n{SHOP}matrix")[0].startswith("refused: invalid: matrix in a batch")
    assert outcome("show networks") == []


def test_a_batch_is_one_append(stage):
    """Its commands see each other, and share one request."""
    scripts.run(scripts.parse(f"batch\n{SHOP}endpoint create shop web\nendpoint rm shop/web\n"), stage)
    requests = {record.event.request.partition("/")[0] for record in stage.controller.history(after=1)}
    assert len(requests) == 1


def test_a_fault_comes_so_often_as_was_said(outcome):
    """`--times` counts the steps that fail; afterwards all goes well."""
    outcome("fail bridge/shop ENOMEM --times 2")  # making it, and taking that back
    assert len([line for line in outcome(SHOP.strip()) if line.startswith("fault: bridge/shop: ")]) == 2
    assert not [line for line in outcome(SHOP.strip()) if line.startswith(("fault", "DataplaneFaulted"))]


def test_a_fault_waits_for_its_object(outcome):
    """What does not match does not fail."""
    outcome("fail bridge/back EPERM")
    assert outcome(SHOP.strip())[-1].startswith("NetworkCreated")
    assert "(EPERM)" in "".join(outcome("network create back"))


def test_what_a_kernel_does_not_let_somebody_do_is_told(outcome):
    """An interface that is there already, as the kernel says it."""
    assert outcome("kernel add lan0\nkernel add lan0") == ["error: KernelError: File exists: lan0 in that namespace"]


def test_a_bug_says_which_line_it_came_from(stage, monkeypatch):
    """An exception that is nobody's refusal goes through, with the place in the script."""
    monkeypatch.setattr(stage.dataplane, "apply", lambda plan: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        scripts.run(scripts.parse("check\n\nnetwork create shop\n"), stage)
    assert caught.value.__notes__ == ["while playing script:3: network create shop"]


def test_a_script_runs_on_an_open_controller():
    """Commands and questions do; what needs another process or faults is refused."""
    with Controller.open(dataplane="simulated") as controller:
        text = f"{SHOP}\nshow networks\n----\nshop bridge: 10.1.0.0/24 via 10.1.0.1\n\nkernel clear\n\nrepair\n"
        assert not scripts.run(scripts.parse(text), controller)
        lines = ("restart", "reboot", "crash\nnetwork rm shop", "fail bridge/* EPERM")
        for difference in scripts.run(scripts.parse("\n\n".join(lines)), controller):
            assert difference.outcome[0].startswith("refused: not implemented: "), difference
        assert controller.network("shop").driver == "bridge"


def test_a_controller_without_a_simulated_host_has_no_kernel_to_alter():
    """What befalls a kernel needs a simulated one."""
    with Controller.open(dataplane="none") as controller:
        (difference,) = scripts.run(scripts.parse("kernel clear\n"), controller)
        assert "this controller's host is not a simulated one" in difference.outcome[0]


def test_every_event_has_a_sentence():
    """Only what a script hardly ever sees is told field by field."""
    told_otherwise = {"DriftDetected", "DriftRepaired", "HostRegistered", "ClockStepped"}
    assert {kind for name, kind in EVENT_TYPES.items() if name not in told_otherwise} <= _SENTENCES.keys()


# --- files


def script(tmp_path: Path, text: str) -> Path:
    """Write a script."""
    path = tmp_path / "mine.txt"
    path.write_text(text)
    return path


def test_accepting_rewrites_expectations_and_nothing_else(tmp_path, capsys):
    """Comments, blank lines, commands, blocks without an outcome and outcomes that came stay as they are."""
    text = (
        f"# A shop.  \n\n\n{SHOP}\n# Its first  endpoint.\nendpoint create shop web   --alias 'www'\n----\nwrong\n"
        "also wrong\n\n\nshow networks\n----\nshop bridge: 10.1.0.0/24 via 10.1.0.1\n\nshow ports\n----\nwrong"
    )
    path = script(tmp_path, text)
    assert main([str(path)]) == 1
    assert main([str(path), "--check"]) == 1
    assert path.read_text() == text
    assert main([str(path), "--accept"]) == 0
    came = "AddressAllocated 10.1.0.2 for shop/web\nEndpointCreated shop/web 10.1.0.2/24\nAliasAdded www for shop/web\n"
    assert path.read_text() == text.replace("wrong\nalso wrong\n", came).removesuffix("\nwrong")
    assert f"accepted: {path}:7: endpoint create shop web   --alias 'www'" in capsys.readouterr().out
    assert main([str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: 4 blocks as expected\n"


def test_what_does_not_go_well_cannot_be_accepted(tmp_path, capsys):
    """A block without an outcome has none to rewrite."""
    path = script(tmp_path, "network rm shop\n")
    assert main([str(path), "--accept"]) == 1
    assert path.read_text() == "network rm shop\n"
    assert "this did not go well" in capsys.readouterr().out


def test_what_is_no_script_ends_with_two(tmp_path, capsys):
    """A file that is not there, and one that is no script."""
    assert main([str(tmp_path / "nowhere.txt")]) == 2
    assert main([str(script(tmp_path, "please\n"))]) == 2
    assert "there is no command 'please'" in capsys.readouterr().err


def test_the_command_runs_as_printed(tmp_path):
    """`python -m netledger.testing.scripts FILE` works in a process of its own; `--help` lists the commands."""
    path = tmp_path / "ports.txt"
    shutil.copy(next(file for file in FILES if file.stem == "ports"), path)
    command = [sys.executable, "-m", "netledger.testing.scripts"]
    done = subprocess.run([*command, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    assert "sandbox setkey SANDBOX PATH [--identity BOOT/COOKIE]" in shown


# --- writing


def again(line: str, views) -> list[Command]:
    """Read a line that was written."""
    return scripts.commands_of(read(line), views)


@settings(deadline=None)
@given(st.data())
def test_what_the_author_writes_is_read_as_the_same(data):
    """Every command that fits, and every blunder, in every state: written as a line and read again."""
    desk = Desk()
    author = Author(Drawn([]), views=lambda: desk.views)
    writer = scripts.Writer()
    for kind in [*GROUND, *data.draw(st.lists(st.sampled_from([*KINDS, "blunder"]), max_size=10))]:
        author.choice = Drawn(data.draw(numbers()))
        command = author.command(kind)
        for line in (writer.line(command, desk.views), scripts.render(command, desk.views)):
            assert again(line, desk.views) == [command]
        _try(desk, command)


def _try(desk: Desk, command: Command) -> None:
    with suppress(Refusal):
        desk.do(command)


@pytest.mark.parametrize("seed", range(20))
def test_a_command_is_seldom_written_as_json(seed):
    """What fits a state is written in words, with names, and no id of 64 digits."""
    desk = Desk()
    author = Author(Seeded(seed), views=lambda: desk.views)
    writer = scripts.Writer(author.universe.words)
    for kind in (*GROUND, *KINDS, *ADDRESS_KINDS):
        command = author.command(kind)
        line = writer.line(command, desk.views)
        assert not line.startswith("command "), line
        assert not re.search(r"[0-9a-f]{64}", line), line
        _try(desk, command)


def test_a_crash_can_be_written(tmp_path):
    """A batch that begins with `crash` is one that the kernel does not hear of; what it needs comes before it."""
    attached = create_sandbox("c1", kind=SandboxKind.ATTACHED, path="/run/netns/c1", identity=NamespaceIdentity("b", 7))
    text = scripts.write(["kernel add lan0", ["crash", create_network("n1"), attached], []])
    assert text.startswith(
        "kernel add lan0\nnetns add /run/netns/c1 b/7\n----\n...\n\ncrash\nnetwork create n1\nsandbox create c1 "
    )
    with scripts.Stage(tmp_path / "state") as on:
        assert not scripts.run(scripts.parse(text), on)
        assert on.controller.recovery is not None


@settings(deadline=None, max_examples=25)
@given(histories(max_batches=4))
def test_a_written_history_plays_as_it_was(batches):
    """The script of a history has the events of the history itself, whatever was refused on the way.

    Both are played at one time, by which kept addresses end.
    """
    with TemporaryDirectory() as directory, mock.patch("time.time_ns", return_value=10**18):
        with scripts.Stage(Path(directory) / "played") as played:
            assert not scripts.run(scripts.parse(scripts.write(batches)), played)
            told = _facts(played)
        with scripts.Stage(Path(directory) / "as it was") as original:
            original.dataplane.namespaces.update(Universe().namespaces)
            for batch in batches:
                original.controller.execute(batch)
            assert told == _facts(original)


def _facts(stage: scripts.Stage) -> list[tuple[object, ...]]:
    """List the events, without when and in which request."""
    return [
        (type(record.event), *msgspec.structs.astuple(record.event)[len(Origin._fields) :])
        for record in stage.controller.history()
    ]


def test_names_are_written_where_they_are_known():
    """By the state, by what was written before, by their word, at last by the id."""
    desk = Desk()
    desk.do(create_network("n1"), create_sandbox("c1"), create_endpoint("n1", "e1"))
    joining = join("n1/e1", "c1")
    assert scripts.render(joining, desk.views) == "endpoint join n1/e1 c1"
    assert scripts.render(joining).split()[2:] == [identifier("n1/e1"), identifier("c1")]
    writer = scripts.Writer()
    writer.line(create_network("n1"))
    assert writer.line(DeleteNetwork(identifier("n1"))) == "network rm n1"
    other = CreateNetwork(identifier("another n1"), "n1")
    assert writer.line(other) == "network create n1 --id '@another n1'"
    assert writer.line(DeleteNetwork(identifier("n1"))) == "network rm @n1"
    assert writer.line(DeleteNetwork(identifier("another n1"))) == "network rm 'another n1'"


def test_what_no_line_can_say_is_written_whole():
    """A command of the engine's own, or one that is not even well formed, is JSON and is read as the same."""
    for command in (RecordBoot("boot"), CreateNetwork(identifier("n"), "n", pools=(PoolRequest(5),))):
        line = scripts.render(command)
        assert line.startswith("command '{")
        assert again(line, Desk().views) == [command]


def test_a_written_script_holds(tmp_path):
    """Single commands, batches and other lines become blocks; the last one checks everything."""
    text = scripts.write([create_network("n1"), [create_sandbox("c1"), create_endpoint("n1", "e1")], "restart"])
    assert text == (
        "network create n1\n----\n...\n\nbatch\nsandbox create c1\nendpoint create n1 e1\n----\n...\n\n"
        "restart\n----\n...\n\ncheck\n----\neverything holds\n"
    )
    with scripts.Stage(tmp_path / "state") as on:
        assert not scripts.run(scripts.parse(text), on)
        assert [endpoint.name for endpoint in on.controller.endpoints()] == ["e1"]
