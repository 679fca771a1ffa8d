"""`unpaired data`: list, make, fetch, check."""


def test_data_list_names_them_all(said, tmp_path, monkeypatch):
    from unpaired.data.catalogue import entries

    monkeypatch.setenv("UNPAIRED_DATA", str(tmp_path / "home"))
    code, out, err = said("data", "list")
    assert (code, err) == (0, "")
    for entry in entries():
        assert any(line.split()[:1] == [entry.name] for line in out.splitlines()), entry.name
    assert not (tmp_path / "home").exists()


def test_data_check_of_good_images(data, said):
    code, out, err = said("data", "check", data)
    assert (code, err) == (0, "")
    assert "train a: 5 images of 3 bands and 8 bits" in out
    assert "no problems found" in out


def test_data_check_names_a_broken_file(data, said):
    whole = (data / "trainA" / "02.png").read_bytes()
    (data / "trainA" / "02.png").write_bytes(whole[:60])
    code, out, err = said("data", "check", data)
    assert code == 1
    assert "trainA/02.png: " in out
    assert err == "unpaired: 1 problem would stop a training\n"


def test_data_check_of_two_folders_and_small_images(data, said):
    code, out, _ = said("data", "check", data / "trainA", data / "trainB", "--image-size", "12")
    assert code == 0  # they are enlarged
    assert "small (12): smaller than the crop" in out
    full = said("data", "check", data / "trainA", data / "trainB", "--image-size", "12", "--full")
    assert out.count("the crop is 12") < full[1].count("the crop is 12") == 12


def test_data_check_of_nothing(rejected, tmp_path):
    assert "neither a folder nor a data set" in rejected("data", "check", tmp_path / "gone")


def test_data_make_and_fetch_know_the_names(rejected, tmp_path, monkeypatch):
    monkeypatch.setenv("UNPAIRED_DATA", str(tmp_path / "home"))
    assert "there is no data set 'season'" in rejected("data", "make", "season")
    assert "there is no data set 'horse2zebr'" in rejected("data", "fetch", "horse2zebr")
