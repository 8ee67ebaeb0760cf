"""Tables from spreadsheets, editors and other programs: read as they are meant, or refused with their line."""

import pytest

from mixture_config.files.mixture import Mixture
from mixture_config.files.mixture_table import MixtureTable
from proxy_training.runs.planned_runs import planned_runs
from proxymix.errors import InputError
from proxymix.schemas import Domains
from proxymix.tables import read_table
from proxymix.token_counts import read_counts


def written(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("reader", [read_table, Domains.read, MixtureTable.read])
@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("domain,tokens\nweb,600,000,000\n", 2, "'000'"),
        ("index,train_a,train_b\n1,0.5,0.5\n\n2,0.5,0.5,x\n", 4, "'x'"),
        ("domain,tokens,documents\nweb,10,1\ncode,20\n", 3, "2 fields"),
        ('domain,tokens\n"web,10\n', 2, "quotes"),
    ],
)
def test_a_row_of_another_width_than_the_header_is_refused_by_every_reader(tmp_path, reader, text, line, found):
    with pytest.raises(InputError, match=rf"table\.csv:{line}: .*{found}"):
        reader(written(tmp_path, text))


@pytest.mark.parametrize(
    "text", ["index,train_a,train_b\n1,0.25,0.75,\n", "index,train_a,train_b,\n1,0.25,0.75,\n,,,\n"]
)
def test_commas_at_the_ends_of_lines_move_no_field(tmp_path, text):
    table = MixtureTable.read(written(tmp_path, text))
    assert (table.index, table.domains, table.weights.tolist()) == ([1], ["a", "b"], [[0.25, 0.75]])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("domain,tokens\nweb,\n", 2),
        ("domain,tokens\n\nweb,3\n\ncode,\n", 5),
        ('domain,note,tokens\nweb,"two\nlines",3\ncode,x,\n', 4),
        ("domain,tokens,documents\nweb,3,\n", 2),
    ],
)
def test_an_empty_count_is_no_0_and_is_named_with_its_line_in_the_file(tmp_path, text, line):
    with pytest.raises(InputError, match=rf"table\.csv:{line}: (tokens|documents): the field is empty"):
        Domains.read(written(tmp_path, text))


@pytest.mark.parametrize("count", ["150.000", '"150,000"', "1'500'000", "150 000"])
def test_a_count_with_separators_is_refused_with_the_count_without(tmp_path, count):
    with pytest.raises(InputError, match=r"table\.csv:2: tokens is .*: 150*$"):
        Domains.read(written(tmp_path, f"domain,tokens\nweb,{count}\n"))


def test_spaces_around_headers_and_fields_count_for_nothing(tmp_path):
    assert Domains.read(written(tmp_path, "domain , tokens\nweb, 5\n code,7 \n")).names == ("web", "code")
    table = read_table(written(tmp_path, 'index, metric/a_val_loss, "note"\n1, 3.5, "a, b"\n'))
    assert list(table.columns) == ["index", "metric/a_val_loss", "note"]
    assert table["note"].tolist() == ["a, b"]


@pytest.mark.parametrize(
    ("cells", "keys"),
    [
        (["NA", "null", "r3"], ["NA", "null", "r3"]),
        (["1e5", "12e3", "nan"], ["1e5", "12e3", "nan"]),
        (["True", "False", "1"], ["True", "False", "1"]),
        (["007", "010", "x"], ["007", "010", "x"]),
        (["007", "010", "11"], [7, 10, 11]),
        (["1.0", "2.0", "10.0"], [1, 2, 10]),
        (["12345678901234567890", "2", "3"], ["12345678901234567890", "2", "3"]),
    ],
)
@pytest.mark.parametrize("column", ["index", "run", "name"])
def test_keys_are_text_as_written_or_all_whole_numbers(tmp_path, column, cells, keys):
    rows = "".join(f"{cell},0.5,0.5\n" for cell in cells)
    assert MixtureTable.read(written(tmp_path, f"{column},train_a,train_b\n{rows}")).index == keys


def test_names_of_domains_and_targets_are_text_whatever_they_look_like(tmp_path):
    table = read_table(written(tmp_path, "domain,target,value\n2024,NA,1\nno,nan,2\n"))
    assert table["domain"].tolist() == ["2024", "no"]
    assert table["target"].tolist() == ["NA", "nan"]
    assert table["value"].tolist() == [1, 2]


def test_the_tables_of_european_spreadsheets_are_read(tmp_path):
    table = MixtureTable.read(written(tmp_path, "index;train_a;train_b\n1;0,25;0,75\n2;1;0\n"))
    assert table.weights.tolist() == [[0.25, 0.75], [1, 0]]
    assert Domains.read(written(tmp_path, "\ufeffdomain;tokens\nweb;600\ncode;150\n")).tokens.tolist() == [600, 150]
    assert Domains.read(written(tmp_path, "domain\ttokens\nweb\t600\n")).tokens.tolist() == [600]
    sizes = [dataset.tokens for dataset in read_counts(written(tmp_path, "domain;tokens;prior\nweb;600;0,8\n"))]
    assert sizes == [600]
    assert read_table(written(tmp_path, "run;metric/a_val_loss\nr1;3,25\n"))["metric/a_val_loss"].tolist() == [3.25]


def test_decimal_commas_beside_points_are_not_guessed_at(tmp_path):
    with pytest.raises(InputError, match=r"table\.csv:3: loss is '1\.234'"):
        read_table(written(tmp_path, "index;loss\n1;3,5\n2;1.234\n"))


def test_a_field_of_any_length_is_read(tmp_path):
    path = written(tmp_path, f"domain,tokens,notes\nweb,1000,{'y' * 140_000}\n")
    assert Domains.read(path).tokens.tolist() == [1000]


@pytest.mark.parametrize(
    ("rows", "message"),
    [("1,25,75\n2,50,50\n", "in percent; divide them by 100"), ("1,25%,75%\n", "'25%'.*shares from 0 to 1")],
)
def test_weights_in_percent_are_named_as_such(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        MixtureTable.read(written(tmp_path, f"index,train_a,train_b\n{rows}"))
    _, first, second = rows.splitlines()[0].split(",")
    (tmp_path / "m.yaml").write_text(f"train: {{a: {first}, b: {second}}}\n")
    with pytest.raises(InputError, match=r"percent|divide each by 100"):
        Mixture.read(tmp_path / "m.yaml")


def test_a_folder_of_mixtures_holds_yaml_and_yml_and_names_no_run_twice(tmp_path):
    for name in ("n00001.yml", "n00002.yaml"):
        (tmp_path / name).write_text("train: {a: 1.0}\n")
    assert MixtureTable.read(tmp_path).index == [1, 2]
    assert [run.id for run in planned_runs(tmp_path, 0)] == ["n00001", "n00002"]
    (tmp_path / "n2.yml").write_text("train: {a: 1.0}\n")
    with pytest.raises(InputError, match=r"n2\.yml.*name the same run"):
        MixtureTable.read(tmp_path)
