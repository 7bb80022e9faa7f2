"""ADF files: finished ones are whole, unfinished or damaged ones are found out."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from grange.actors import adf
from grange.actors.adf import AdfError, FrameType, Key
from grange.actors.adf_file import AdfSummary, FrameWriter, read_blocks, summarise


def psa_frames(n: int, hits_each: int = 1) -> bytes:
    heads = np.zeros(n, adf.PSA_HEAD)
    heads["hits"] = hits_each
    heads["event_number"] = np.arange(n)
    return adf.pack_psa_frames(heads, np.zeros(n * hits_each, adf.PSA_HIT))


def write(path: Path, *blocks: bytes) -> AdfSummary:
    with FrameWriter(path) as writer:
        for block in blocks:
            writer.write(block)
    return writer.close()


class TestWriting:
    def test_the_writers_summary_is_what_reading_the_file_again_finds(self, tmp_path: Path) -> None:
        path = tmp_path / "out.adf"
        event = adf.pack_composite(FrameType.EVENT_DATA_PSA, 1, 2, [psa_frames(3)])
        written = write(path, event, psa_frames(2), Key(20, 0xFA010201, 0, 0).pack())
        assert written == summarise(path)
        assert written.frames == {"event:data:psa": 1, "data:psa": 5, "0xFA010201": 1, "meta:eof": 1}
        assert written.events == 3
        content = path.read_bytes()
        assert (written.bytes, written.sha256) == (len(content), hashlib.sha256(content).hexdigest())

    def test_the_file_has_its_name_only_when_it_is_finished(self, tmp_path: Path) -> None:
        path = tmp_path / "out.adf"
        writer = FrameWriter(path)
        writer.write(psa_frames(1))
        assert [file.name for file in tmp_path.iterdir()] == ["out.adf.part"]
        writer.close()
        assert [file.name for file in tmp_path.iterdir()] == ["out.adf"]

    def test_after_an_exception_the_unfinished_part_stays(self, tmp_path: Path) -> None:
        def interrupted() -> None:
            with FrameWriter(tmp_path / "out.adf") as writer:
                writer.write(psa_frames(1))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert [file.name for file in tmp_path.iterdir()] == ["out.adf.part"]

    def test_an_existing_file_is_overwritten_only_when_asked(self, tmp_path: Path) -> None:
        path = tmp_path / "out.adf"
        first = write(path, psa_frames(1))
        with pytest.raises(FileExistsError, match="overwrite=True"):
            FrameWriter(path)
        assert summarise(path) == first
        with FrameWriter(path, overwrite=True):
            pass
        assert summarise(path).frames == {"meta:eof": 1}

    def test_of_a_block_that_is_not_whole_frames_nothing_is_written(self, tmp_path: Path) -> None:
        path = tmp_path / "out.adf"
        with FrameWriter(path) as writer:
            writer.write(psa_frames(1))
            with pytest.raises(AdfError, match="byte 258"):
                writer.write(psa_frames(3)[:-1])
        assert summarise(path).frames == {"data:psa": 1, "meta:eof": 1}

    def test_a_closed_writer_refuses_more(self, tmp_path: Path) -> None:
        writer = FrameWriter(tmp_path / "out.adf")
        assert writer.close() == writer.close()
        with pytest.raises(ValueError, match="is closed"):
            writer.write(psa_frames(1))


class TestReading:
    def test_blocks_hold_whole_frames_in_order(self, tmp_path: Path) -> None:
        content = psa_frames(10)
        write(tmp_path / "in.adf", content)
        blocks = list(read_blocks(tmp_path / "in.adf", 4))
        assert [len(block) // 86 for block in blocks] == [4, 4, 2]
        assert b"".join(blocks) == content

    def test_a_block_holds_frames_of_one_type(self, tmp_path: Path) -> None:
        sync = Key(20, FrameType.META_SYNC, 0, 0).pack()
        write(tmp_path / "in.adf", psa_frames(2), sync, psa_frames(1))
        blocks = list(read_blocks(tmp_path / "in.adf", 4))
        assert [len(block) for block in blocks] == [172, 20, 86]

    def test_a_file_without_events_gives_no_block(self, tmp_path: Path) -> None:
        write(tmp_path / "in.adf")
        assert list(read_blocks(tmp_path / "in.adf")) == []

    def test_a_file_cut_within_a_frame_gives_what_precedes_and_then_says_where(self, tmp_path: Path) -> None:
        path = tmp_path / "cut.adf"
        path.write_bytes(psa_frames(3)[:-5])
        blocks = read_blocks(path, 256)
        assert len(next(blocks)) == 172
        with pytest.raises(AdfError, match="of 86 bytes, of which only 81 are there") as caught:
            next(blocks)
        assert (caught.value.path, caught.value.offset) == (str(path), 172)

    def test_a_file_cut_between_frames_is_found_out_by_its_missing_end(self, tmp_path: Path) -> None:
        path = tmp_path / "cut.adf"
        path.write_bytes(psa_frames(3))
        with pytest.raises(AdfError, match="byte 258: the file ends without meta:eof"):
            summarise(path)
        assert [len(block) for block in read_blocks(path, require_eof=False)] == [258]

    def test_a_file_that_goes_on_after_its_end_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "long.adf"
        path.write_bytes(adf.pack_eof() + psa_frames(1))
        with pytest.raises(AdfError, match="byte 20: a data:psa frame after meta:eof"):
            summarise(path)

    def test_damage_inside_a_composite_is_found_by_the_summary(self, tmp_path: Path) -> None:
        path = tmp_path / "damaged.adf"
        event = bytearray(adf.pack_composite(FrameType.EVENT_DATA_PSA, 1, 2, [psa_frames(2)]))
        event[20 + 86 + 7] = 0x11
        path.write_bytes(bytes(event) + adf.pack_eof())
        with pytest.raises(AdfError, match="frame type 0x11010102") as caught:
            summarise(path)
        assert caught.value.offset == 106

    def test_a_block_has_at_least_one_frame(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            list(read_blocks(tmp_path / "any.adf", 0))
