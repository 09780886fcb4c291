//! Generated media, made once and kept below `target/test-media`.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ffmpeg::{self, Generation};
use super::flv::{self, Tag};
use super::packets::Packet;
use super::target_dir;

/// How a file is made: an FLV file, since its tags are what RTMP carries. The key frame interval is one second throughout.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    name: &'static str,
    generation: Generation,
    args: &'static str,
}

/// H.264 and AAC without B-frames, 640x360, 8 s, about 700 kbit/s.
pub const H264_AAC: Recipe = Recipe {
    name: "h264-aac",
    generation: Generation::Five,
    args: "-f lavfi -i testsrc2=s=640x360:r=25 -f lavfi -i sine=440:r=44100 -t 8 -c:v libx264 -preset veryfast \
           -b:v 600k -g 25 -bf 0 -pix_fmt yuv420p -c:a aac -b:a 96k",
};

/// The same with B-frames: composition times differ from decoding times.
pub const H264_AAC_B_FRAMES: Recipe = Recipe {
    name: "h264-aac-b-frames",
    generation: Generation::Five,
    args: "-f lavfi -i testsrc2=s=640x360:r=25 -f lavfi -i sine=440:r=44100 -t 8 -c:v libx264 -preset veryfast \
           -b:v 600k -g 25 -bf 3 -pix_fmt yuv420p -c:a aac -b:a 96k",
};

/// HEVC and AAC with Enhanced tag headers.
pub const HEVC_AAC: Recipe = Recipe {
    name: "hevc-aac",
    generation: Generation::Nine,
    args: "-f lavfi -i testsrc2=s=640x360:r=25 -f lavfi -i sine=440:r=44100 -t 6 -c:v libx265 -preset ultrafast \
           -x265-params keyint=25:min-keyint=25:bframes=2:log-level=none -b:v 600k -pix_fmt yuv420p -c:a aac -b:a 96k",
};

/// AV1 and AAC with Enhanced tag headers.
pub const AV1_AAC: Recipe = Recipe {
    name: "av1-aac",
    generation: Generation::Nine,
    args: "-f lavfi -i testsrc2=s=640x360:r=25 -f lavfi -i sine=440:r=44100 -t 6 -c:v libsvtav1 -preset 12 -g 25 \
           -b:v 600k -pix_fmt yuv420p -c:a aac -b:a 96k",
};

/// HEVC and Opus, both with Enhanced tag headers.
pub const HEVC_OPUS: Recipe = Recipe {
    name: "hevc-opus",
    generation: Generation::Nine,
    args: "-f lavfi -i testsrc2=s=320x180:r=25 -f lavfi -i sine=440:r=48000 -t 5 -c:v libx265 -preset ultrafast \
           -x265-params keyint=25:min-keyint=25:bframes=2:log-level=none -b:v 300k -pix_fmt yuv420p -c:a libopus -b:a 64k",
};

/// AV1 and FLAC.
pub const AV1_FLAC: Recipe = Recipe {
    name: "av1-flac",
    generation: Generation::Nine,
    args: "-f lavfi -i testsrc2=s=320x180:r=25 -f lavfi -i sine=440:r=48000 -t 5 -c:v libsvtav1 -preset 12 -g 25 \
           -b:v 300k -pix_fmt yuv420p -c:a flac",
};

/// VP9 and AC-3.
pub const VP9_AC3: Recipe = Recipe {
    name: "vp9-ac3",
    generation: Generation::Nine,
    args: "-f lavfi -i testsrc2=s=320x180:r=25 -f lavfi -i sine=440:r=48000 -t 5 -c:v libvpx-vp9 -deadline realtime \
           -cpu-used 8 -g 25 -b:v 300k -pix_fmt yuv420p -c:a ac3 -b:a 96k",
};

/// VVC and E-AC-3.
pub const VVC_EAC3: Recipe = Recipe {
    name: "vvc-eac3",
    generation: Generation::Nine,
    args: "-f lavfi -i testsrc2=s=160x90:r=25 -f lavfi -i sine=440:r=48000 -t 5 -c:v libvvenc -preset faster -g 25 \
           -b:v 100k -pix_fmt yuv420p10le -c:a eac3 -b:a 96k",
};

/// Two tracks of H.264 and two of AAC: those after the first with multitrack headers.
pub const TWO_TRACKS: Recipe = Recipe {
    name: "two-tracks",
    generation: Generation::Nine,
    args: "-f lavfi -i testsrc2=s=320x180:r=25 -f lavfi -i testsrc=s=160x90:r=25 -f lavfi -i sine=440:r=48000 \
           -f lavfi -i sine=880:r=48000 -t 5 -map 0 -map 1 -map 2 -map 3 -c:v libx264 -preset veryfast -g 25 -bf 2 \
           -b:v 200k -pix_fmt yuv420p -c:a aac -b:a 64k",
};

/// H.264 with HEVC and AV1 beside it, AAC with Opus beside it.
pub const TRACKS_OF_SEVERAL_CODECS: Recipe = Recipe {
    name: "tracks-of-several-codecs",
    generation: Generation::Nine,
    args: "-f lavfi -i testsrc2=s=320x180:r=25 -f lavfi -i testsrc=s=160x90:r=25 -f lavfi -i testsrc=s=192x108:r=25 \
           -f lavfi -i sine=440:r=48000 -f lavfi -i sine=880:r=48000 -t 5 -map 0 -map 1 -map 2 -map 3 -map 4 \
           -pix_fmt yuv420p -b:v 150k -g 25 -c:v:0 libx264 -preset:v:0 veryfast -bf:v:0 2 -c:v:1 libx265 -preset:v:1 ultrafast \
           -x265-params keyint=25:min-keyint=25:bframes=0:log-level=none -c:v:2 libsvtav1 -preset:v:2 12 \
           -c:a:0 aac -c:a:1 libopus -b:a 64k",
};

/// AAC alone.
pub const AUDIO_ONLY: Recipe = Recipe {
    name: "audio-only",
    generation: Generation::Five,
    args: "-f lavfi -i sine=440:r=44100 -t 6 -c:a aac -b:a 96k",
};

/// H.264 alone.
pub const VIDEO_ONLY: Recipe = Recipe {
    name: "video-only",
    generation: Generation::Five,
    args: "-f lavfi -i testsrc2=s=640x360:r=25 -t 6 -c:v libx264 -preset veryfast -b:v 600k -g 25 -bf 0 \
           -pix_fmt yuv420p",
};

/// A camera on a thin line: about 100 kbit/s in all.
pub const THIN: Recipe = Recipe {
    name: "thin",
    generation: Generation::Five,
    args: "-f lavfi -i testsrc2=s=160x90:r=10 -f lavfi -i sine=440:r=22050 -t 8 -c:v libx264 -preset veryfast \
           -b:v 70k -maxrate 70k -bufsize 70k -g 10 -bf 0 -pix_fmt yuv420p -c:a aac -ac 1 -b:a 24k",
};

/// Noise that stands still: key frames of more than 100 kB, which no chunk size in use takes in one chunk, and tiny others.
pub const LARGE_KEY_FRAMES: Recipe = Recipe {
    name: "large-key-frames",
    generation: Generation::Five,
    args: "-f lavfi -i nullsrc=s=640x360:r=25,geq=random(1)*255:128:128,loop=-1:1:0 -f lavfi -i sine=440:r=44100 -t 8 \
           -c:v libx264 -preset veryfast -crf 20 -g 25 -bf 0 -pix_fmt yuv420p -c:a aac -b:a 64k",
};

/// A generated file and what is in it.
#[derive(Clone, Debug)]
pub struct Media {
    path: PathBuf,
    /// Its tags, in order.
    pub tags: Vec<Tag>,
    /// Its packets, in order.
    pub packets: Vec<Packet>,
}

impl Recipe {
    /// The media, made now if nobody has made it before. The name on disk carries the recipe's checksum, so that a changed
    /// recipe is made anew.
    #[track_caller]
    pub fn media(&self) -> Media {
        let directory = target_dir().join("test-media");
        std::fs::create_dir_all(&directory).expect("make the media directory");
        let sum = Sha256::digest(format!("{:?} {}", self.generation, self.args));
        let path = directory.join(format!("{}-{:02x}{:02x}{:02x}.flv", self.name, sum[0], sum[1], sum[2]));
        if !path.exists() {
            self.make(&directory, &path);
        }
        let tags = flv::read(&path);
        let packets = Packet::from_tags(&tags);
        Media { path, tags, packets }
    }

    #[track_caller]
    fn make(&self, directory: &Path, path: &Path) {
        let lock = File::create(directory.join(format!("{}.lock", self.name))).expect("make a lock file");
        // SAFETY: the descriptor is open as long as `lock` lives; closing it releases the lock.
        let result = unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) };
        assert_eq!(result, 0, "lock: {}", std::io::Error::last_os_error());
        if path.exists() {
            return; // made by the one who held the lock
        }
        let unfinished = directory.join(format!("{}.unfinished", self.name));
        let name = unfinished.display().to_string();
        let mut args: Vec<&str> = self.args.split_whitespace().collect();
        args.extend(["-flvflags", "no_duration_filesize", "-f", "flv", &name]);
        ffmpeg::convert(self.generation, &args);
        std::fs::rename(&unfinished, path).expect("give the media its name");
    }
}

impl Media {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
