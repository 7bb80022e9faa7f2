"""The bytes of ADF frames, against bytes put together by hand."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grange.actors import adf
from grange.actors.adf import AdfError, FrameType, Key


def crystal_block(n: int, seed: int = 1) -> bytes:
    traces = np.random.default_rng(seed).integers(-2000, 2000, (n, adf.CHANNELS, adf.SAMPLES), np.int16)
    return adf.pack_crystal_frames(
        event_number=np.arange(n),
        timestamp=1000 + 10 * np.arange(n),
        crystal=7,
        core_energy_kev=np.full((n, 2), 1332.5),
        traces=traces,
        pre_trigger=25,
    )


def psa_records(hit_counts: list[int]) -> tuple[adf.Records, adf.Records]:
    generator = np.random.default_rng(len(hit_counts))
    heads = np.zeros(len(hit_counts), adf.PSA_HEAD)
    heads["event_number"] = np.arange(len(hit_counts))
    heads["timestamp"] = 5 * np.arange(len(hit_counts))
    heads["id"] = 3
    heads["hits"] = hit_counts
    hits = np.zeros(sum(hit_counts), adf.PSA_HIT)
    hits["segment"] = generator.integers(0, 36, len(hits))
    for name in ("x", "y", "z", "energy", "t_cce"):
        hits[name] = generator.normal(0, 100, len(hits))
    return heads, hits


class TestKey:
    def test_is_twenty_packed_little_endian_bytes(self) -> None:
        packed = Key(length=170, type=FrameType.DATA_PSA, event_number=5, timestamp=0x0000_1234_5678_9ABC).pack()
        assert packed == bytes.fromhex("aa000000 020101fa 05000000 bc9a785634120000")

    def test_is_read_back_as_it_was_written(self) -> None:
        key = Key(20, FrameType.META_EOF, 2**32 - 1, 2**48 - 1)
        assert Key.unpack(b"junk" + key.pack(), 4) == key

    @pytest.mark.parametrize(
        ("frame_type", "composite", "event"),
        [
            (FrameType.DATA_CRYSTAL, False, True),
            (FrameType.DATA_TRACKED, False, True),
            (FrameType.EVENT_DATA_PSA, True, True),
            (FrameType.META_EOF, False, False),
            (0xFA010201, False, False),  # conf
        ],
    )
    def test_tells_composites_and_events_by_the_type(self, frame_type: int, composite: bool, event: bool) -> None:
        key = Key(20, frame_type, 0, 0)
        assert (key.is_composite, key.is_event) == (composite, event)

    def test_types_have_the_names_of_the_field_and_unknown_ones_their_number(self) -> None:
        assert adf.type_name(0xCA010102) == "event:data:psa"
        assert adf.type_name(0xFA010299) == "0xFA010299"


class TestCrystalFrames:
    def test_have_the_documented_layout(self) -> None:
        traces = np.arange(38 * 100, dtype=np.int16).reshape(1, 38, 100)
        packed = adf.pack_crystal_frames(
            event_number=[9],
            timestamp=[77],
            crystal=[4],
            status=[1],
            core_energy_kev=[[1332.5, 1331.0]],
            traces=traces,
            pre_trigger=25,
            channel_mask=[0b101],
            kev_per_count=(0.25, 1.0),
        )
        by_hand = struct.pack("<IIIQ", 7660, 0xFA010101, 9, 77)
        by_hand += struct.pack("<8HQ4f", 1, 4, 1, 38, 100, 25, 10, 0, 0b101, 1332.5, 1331.0, 0.25, 1.0)
        by_hand += struct.pack("<3800h", *range(3800))
        assert packed == by_hand

    def test_a_block_is_read_back_without_a_copy(self) -> None:
        block = crystal_block(3)
        frames = adf.unpack_crystal_frames(block)
        assert frames["event_number"].tolist() == [0, 1, 2]
        assert frames["timestamp"].tolist() == [1000, 1010, 1020]
        assert not frames.flags.writeable
        assert frames.tobytes() == block

    def test_traces_of_another_shape_or_type_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"int32\[2, 38, 100\], and must be int16"):
            adf.pack_crystal_frames(
                event_number=0, timestamp=0, crystal=0, core_energy_kev=0, traces=np.zeros((2, 38, 100), np.int32)
            )

    @pytest.mark.parametrize(
        ("at", "value", "problem"),
        [
            (4, b"\x02", "type 0xfa010102, not 0xfa010101"),
            (0, b"\x00", "length 0x1d00, not 0x1dec"),
            (20, b"\x02", "version 0x2, not 0x1"),
            (26, b"\x25", "channels 0x25, not 0x26"),
        ],
    )
    def test_a_frame_that_is_not_one_is_named_with_its_offset(self, at: int, value: bytes, problem: str) -> None:
        block = bytearray(crystal_block(2))
        block[7660 + at : 7661 + at] = value
        with pytest.raises(AdfError, match=problem) as caught:
            adf.unpack_crystal_frames(block, base=100, path="run-1.adf")
        assert caught.value.offset == 7760
        assert str(caught.value).startswith("run-1.adf, byte 7760: ")

    def test_a_cut_block_is_refused(self) -> None:
        with pytest.raises(AdfError, match="7659 bytes are left"):
            adf.unpack_crystal_frames(crystal_block(2)[:-1])


class TestPsaFrames:
    def test_a_frame_of_three_hits_has_170_bytes_laid_out_as_version_4(self) -> None:
        head = np.zeros((), adf.PSA_HEAD)[()]
        for name, value in {"event_number": 9, "timestamp": 77, "id": 4, "status": 1, "e0": 1332.5, "e1": 1331.0,
                            "t0": 2.0, "t1": 3.0, "psa_status": 5}.items():  # fmt: skip
            head[name] = value
        hit = (1, 13, 4, 1.5, -2.5, 45.0, 800.0, 6.0, 7.0, 8.0, 9.0, 10.0)
        packed = adf.pack_psa_frame(head, np.array([hit] * 3, adf.PSA_HIT))
        by_hand = struct.pack("<IIIQ", 170, 0xFA010102, 9, 77)
        by_hand += struct.pack("<HHffffHH", 4, 1, 1332.5, 1331.0, 2.0, 3.0, 5, 3)
        by_hand += 3 * struct.pack("<Hhh9f", *hit)
        assert packed == by_hand
        assert len(packed) == 170

    @settings(deadline=None)
    @given(st.lists(st.integers(0, 6), max_size=20))
    def test_blocks_of_any_numbers_of_hits_are_read_back_as_written(self, hit_counts: list[int]) -> None:
        heads, hits = psa_records(hit_counts)
        packed = adf.pack_psa_frames(heads, hits)
        read_heads, read_hits = adf.unpack_psa_frames(packed)
        assert read_hits.tobytes() == hits.tobytes()
        assert read_heads["length"].tolist() == [44 + 42 * count for count in hit_counts]
        for name in ("event_number", "timestamp", "id", "hits"):
            assert read_heads[name].tolist() == heads[name].tolist()
        assert adf.pack_psa_frames(read_heads, read_hits) == packed

    def test_one_payload_is_read_as_head_and_hits(self) -> None:
        heads, hits = psa_records([2])
        ((_, payload),) = adf.frames(adf.pack_psa_frames(heads, hits))
        head, read = adf.unpack_psa(payload)
        assert (head["id"], head["hits"]) == (3, 2)
        assert read.tobytes() == hits.tobytes()

    def test_a_payload_whose_size_belies_its_hits_is_refused(self) -> None:
        packed = adf.pack_psa_frames(*psa_records([2]))
        with pytest.raises(AdfError, match="107 bytes, and 2 hits make 108"):
            adf.unpack_psa(packed[adf.KEY_BYTES : -1])

    def test_heads_and_hits_must_agree(self) -> None:
        heads, hits = psa_records([2, 1])
        with pytest.raises(ValueError, match="announce 3 hits, and 2 are given"):
            adf.pack_psa_frames(heads, hits[:2])

    def test_other_frames_in_a_block_are_refused_by_name(self) -> None:
        block = adf.pack_psa_frames(*psa_records([1])) + adf.pack_eof()
        with pytest.raises(AdfError, match=r"byte 86: a meta:eof frame"):
            adf.unpack_psa_frames(block)


class TestFrames:
    def test_are_walked_with_their_payloads_and_composites_are_walked_again(self) -> None:
        members = [adf.pack_psa_frames(*psa_records([count])) for count in (1, 3)]
        event = adf.pack_composite(FrameType.EVENT_DATA_PSA, 12, 99, members)
        (key, payload), (eof, nothing) = adf.frames(event + adf.pack_eof(13, 100))
        assert key == Key(20 + 86 + 170, FrameType.EVENT_DATA_PSA, 12, 99)
        assert [inner.length for inner, _ in adf.frames(payload)] == [86, 170]
        assert (eof, len(nothing)) == (Key(20, FrameType.META_EOF, 13, 100), 0)

    def test_a_composite_of_primary_type_is_refused(self) -> None:
        with pytest.raises(ValueError, match="data:psa is not a composite type"):
            adf.pack_composite(FrameType.DATA_PSA, 0, 0, [])

    @settings(deadline=None)
    @given(st.data())
    def test_a_cut_anywhere_within_a_frame_is_found_at_that_frame(self, data: st.DataObject) -> None:
        counts = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=5))
        packed = adf.pack_psa_frames(*psa_records(counts))
        starts = np.cumsum([0] + [44 + 42 * count for count in counts]).tolist()
        cut = data.draw(st.integers(1, len(packed) - 1).filter(lambda at: at not in starts))
        with pytest.raises(AdfError) as caught:
            list(adf.frames(packed[:cut]))
        assert caught.value.offset == max(start for start in starts if start < cut)

    @pytest.mark.parametrize(
        ("bad", "problem"),
        [
            (Key(19, FrameType.DATA_PSA, 0, 0), "frame length 19"),
            (Key(adf.MAX_FRAME_BYTES + 1, FrameType.DATA_PSA, 0, 0), "frame length 16777217"),
            (Key(20, 0x00010102, 0, 0), "frame type 0x00010102"),
        ],
    )
    def test_a_key_that_cannot_be_one_is_refused_where_it_stands(self, bad: Key, problem: str) -> None:
        with pytest.raises(AdfError, match=problem) as caught:
            list(adf.frames(adf.pack_eof() + bad.pack()))
        assert caught.value.offset == 20
