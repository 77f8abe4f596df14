"""Files of no bytes: nobody promises to rescue anything of them."""

from __future__ import annotations

import pytest
from mcap_bags import make_rows, write_mcap

from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import BagError
from roboalign_training.bags.rescue import recover_cli
from roboalign_training.bags.rescue.recovery import recover
from roboalign_training.look import inspect_cli

NOTHING = "is empty, 0 bytes: there is nothing in it to rescue"


@pytest.mark.parametrize("name", ["a.mcap", "a.db3", "a.mcap.zstd", "bag/bag_0.mcap"])
@pytest.mark.parametrize(
    "command", [recover_cli.main, inspect_cli.main], ids=["recover", "inspect"]
)
def test_an_empty_file_is_called_empty_and_no_rescue_is_promised(tmp_path, capsys, name, command):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.touch()
    assert command([str(tmp_path / name.split("/")[0])]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert said == f"error: {file}: {NOTHING}"


def test_of_a_bag_with_one_empty_file_the_others_are_rescued(tmp_path):
    bag = tmp_path / "bag"
    bag.mkdir()
    write_mcap(bag / "bag_0.mcap", make_rows(5))
    (bag / "bag_1.mcap").touch()
    with pytest.raises(BagError) as caught:
        read_bag(bag)
    assert str(caught.value) == (
        f"{bag / 'bag_1.mcap'}: {NOTHING}; `roboalign recover` can rescue what is in the bag's "
        "other files"
    )
    found = recover(bag)
    assert read_bag(found.folder).message_count == 5


def test_an_empty_database_whose_journal_has_bytes_is_unfinished_not_empty(tmp_path):
    (tmp_path / "a.db3").touch()
    (tmp_path / "a.db3-wal").write_bytes(b"x" * 100)
    with pytest.raises(BagError, match="is unfinished: a.db3-wal lies beside it"):
        read_bag(tmp_path / "a.db3")
