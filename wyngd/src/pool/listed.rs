// SPDX-License-Identifier: GPL-3.0-or-later
//! The volumes of this machine, as one listing of LVM's shows them.

use wyng_control::BaseOf;

use super::kept::is_kept;
use super::label::{Identity, Label};
use super::names::{DmUuid, OwnVolume, VolumeName};
use super::programs::{Call, SEPARATOR};
use super::trouble::Trouble;

/// The number of columns in [`COLUMNS`](super::programs::COLUMNS).
const COLUMNS_COUNT: usize = 12;
/// The kind of segment that a thin volume consists of.
const THIN: &str = "thin";
/// The kind of segment that a pool consists of.
const THIN_POOL: &str = "thin-pool";

/// One line of the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// UUID of the volume group.
    pub(super) group_uuid: String,
    /// Name of the volume group.
    pub(super) group: String,
    /// UUID of the volume.
    pub(super) uuid: String,
    /// Its name.
    pub(super) name: String,
    kind: String,
    /// UUID of its pool; empty for what lies in none.
    pub(super) pool_uuid: String,
    /// UUID of the volume that it is a snapshot of, while that exists.
    pub(super) origin_uuid: String,
    /// The pool's number of it.
    pub(super) device: Option<u64>,
    /// Its size, bytes.
    pub(super) size_bytes: u64,
    is_read_only: bool,
    /// For a pool: its transaction id by LVM's metadata.
    pub(super) transaction: Option<u64>,
    tags: Vec<String>,
}

/// All volumes at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listing(Vec<Listed>);

impl Listing {
    /// Asks lvm.
    pub(super) fn take() -> Result<Self, Trouble> {
        Self::parse(&Call::List.run()?).ok_or(Trouble::Answer("lvm's listing is not understood"))
    }

    /// `None` if a line is not understood: nothing may be concluded from the others.
    pub(super) fn parse(text: &str) -> Option<Self> {
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(Listed::parse)
            .collect::<Option<_>>()
            .map(Self)
    }

    /// The thin volume with this UUID.
    pub(super) fn thin(&self, uuid: &str) -> Option<&Listed> {
        self.0
            .iter()
            .find(|found| found.kind == THIN && found.uuid == uuid)
    }

    /// The pool with this UUID.
    pub(super) fn pool(&self, uuid: &str) -> Option<&Listed> {
        self.0
            .iter()
            .find(|found| found.kind == THIN_POOL && found.uuid == uuid)
    }

    /// The volume of this name.
    pub(super) fn named(&self, volume: &OwnVolume) -> Option<&Listed> {
        self.0
            .iter()
            .find(|found| found.own().as_ref() == Some(volume))
    }

    /// Whether a volume of this name is there, whoever made it.
    pub(super) fn has(&self, group: &str, name: &str) -> bool {
        let mut all = self.0.iter();
        all.any(|found| found.group == group && found.name.trim_matches(['[', ']']) == name)
    }

    /// Every pool.
    pub(super) fn pools(&self) -> impl Iterator<Item = &Listed> {
        self.0.iter().filter(|found| found.kind == THIN_POOL)
    }

    /// Our volumes in any pool, in an order that stays the same.
    pub(super) fn all_ours(&self) -> Vec<(Own, &Listed)> {
        let mut ours: Vec<_> = self
            .0
            .iter()
            .filter_map(|found| {
                let volume = found.own()?;
                let (label, is_kept) = (found.label(), found.is_kept());
                let own = Own {
                    volume,
                    label,
                    is_kept,
                };
                Some((own, found))
            })
            .collect();
        ours.sort_by(|(_, one), (_, other)| one.uuid.cmp(&other.uuid));
        ours
    }

    /// Our volumes in a pool.
    pub(super) fn ours(&self, pool_uuid: &str) -> impl Iterator<Item = Own> {
        let in_pool = self
            .0
            .iter()
            .filter(move |found| found.pool_uuid == pool_uuid);
        in_pool.filter_map(|found| {
            Some(Own {
                volume: found.own()?,
                label: found.label(),
                is_kept: found.is_kept(),
            })
        })
    }

    /// Our volumes in any pool that no label finishes, and that are not kept.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = OwnVolume> {
        self.0
            .iter()
            .filter(|found| found.label().is_none() && !found.is_kept())
            .filter_map(Listed::own)
    }

    /// The thin volume of this name in a pool.
    pub(super) fn in_pool(&self, pool_uuid: &str, volume: &VolumeName) -> Option<&Listed> {
        self.0.iter().find(|found| {
            found.kind == THIN
                && found.pool_uuid == pool_uuid
                && found.volume().as_ref() == Some(volume)
        })
    }

    /// Our volume in a pool that has the tag which `tag` makes of its UUID. It cannot be written to.
    pub(super) fn kept(
        &self,
        pool_uuid: &str,
        tag: &dyn Fn(&str) -> String,
    ) -> Option<(OwnVolume, &Listed)> {
        let mut kept = self.0.iter().filter(|found| {
            found.is_still(pool_uuid) && found.tags.iter().any(|own| *own == tag(&found.uuid))
        });
        kept.find_map(|found| Some((found.own()?, found)))
    }

    /// The newest base of a volume in a pool, which its label fits, and the older ones.
    pub(super) fn bases(&self, pool_uuid: &str, of: &BaseOf) -> Vec<(OwnVolume, Label)> {
        let mut bases: Vec<_> = self
            .ours(pool_uuid)
            .filter_map(|own| Some((own.volume, own.label?)))
            .filter(|(_, label)| label.base.of == *of)
            .collect();
        bases.sort_by_key(|(_, label)| std::cmp::Reverse(label.base.generation));
        bases
    }
}

/// A volume with our prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) volume: OwnVolume,
    /// `None`: it is unfinished, or no longer what its label says, or it is kept.
    pub(super) label: Option<Label>,
    /// It keeps what a qube's volume was.
    pub(super) is_kept: bool,
}

impl Listed {
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(SEPARATOR).map(str::trim).collect();
        let [
            group_uuid,
            group,
            uuid,
            name,
            kind,
            pool,
            origin,
            device,
            size,
            attributes,
            transaction,
            tags,
        ] = <[&str; COLUMNS_COUNT]>::try_from(fields).ok()?;
        let number = |text: &str| (!text.is_empty()).then(|| text.parse::<u64>());
        Some(Self {
            group_uuid: group_uuid.to_owned(),
            group: group.to_owned(),
            uuid: uuid.to_owned(),
            name: name.to_owned(),
            kind: kind.to_owned(),
            pool_uuid: pool.to_owned(),
            origin_uuid: origin.to_owned(),
            device: number(device).transpose().ok()?,
            size_bytes: size.parse().ok()?,
            is_read_only: attributes.chars().nth(1) == Some('r'),
            transaction: number(transaction).transpose().ok()?,
            tags: tags
                .split(',')
                .filter(|tag| !tag.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }

    /// Its name, to be named to lvm.
    pub(super) fn volume(&self) -> Option<VolumeName> {
        VolumeName::new(&self.group, &self.name)
    }

    /// The UUID of its device.
    pub(super) fn device_uuid(&self) -> Option<DmUuid> {
        DmUuid::of_volume(&self.group_uuid, &self.uuid)
    }

    /// Whether it is a thin volume of this pool that cannot be written to.
    pub(super) fn is_still(&self, pool_uuid: &str) -> bool {
        self.kind == THIN && self.pool_uuid == pool_uuid && self.is_read_only
    }

    fn own(&self) -> Option<OwnVolume> {
        OwnVolume::of_name(&self.group, &self.name)
    }

    fn is_kept(&self) -> bool {
        self.tags.iter().any(|tag| is_kept(tag))
    }

    /// Its only label, if this is the volume that the label names. The transaction id is compared
    /// with the pool's own metadata later.
    fn label(&self) -> Option<Label> {
        let mut labels = self.tags.iter().filter_map(|tag| Label::parse(tag));
        let label = labels.next().filter(|_| labels.next().is_none())?;
        let found = Identity {
            pool: self.pool_uuid.clone(),
            volume: self.uuid.clone(),
            device: self.device?,
            transaction: label.identity.transaction,
            size_bytes: self.size_bytes,
        };
        (label.identity == found && self.is_still(&found.pool)).then_some(label)
    }
}

#[cfg(test)]
mod tests {
    use super::super::kept::kept_tag;
    use super::super::label::example;
    use super::super::names::QubeVolume;
    use super::*;

    const GROUP: &str = "GGGGGG-GGGG-GGGG-GGGG-GGGG-GGGG-GGGGGG";
    const SOURCE: &str = "ssssss-ssss-ssss-ssss-ssss-ssss-ssssss";

    fn lines(attributes: &str, size: u64, tag: &str) -> String {
        let label = example().identity;
        let (pool, volume) = (label.pool, label.volume);
        format!(
            "  {GROUP}|vg|{pool}|pool|thin-pool||||1073741824|twi-aotz--|41|\n  \
             {GROUP}|vg|{pool}x|[pool_tmeta]|linear||||4194304|ewi-ao----||\n  \
             {GROUP}|vg|{SOURCE}|vm-work-private|thin|{pool}||3|1099511627776|Vwi-aotz--||\n  \
             {GROUP}|vg|{volume}|wyng-00000000000000ab|thin|{pool}|{SOURCE}|12|{size}|{attributes}||{tag}\n"
        )
    }

    #[test]
    fn a_listing_is_read_line_by_line_and_one_strange_line_spoils_it() {
        let text = lines("Vri---tz-k", 1 << 40, &example().tag());
        let listing = Listing::parse(&text).unwrap();
        let pool = example().identity.pool;
        assert_eq!(listing.pool(&pool).unwrap().transaction, Some(41));
        let source = listing.thin(SOURCE).unwrap();
        assert_eq!(source.volume().unwrap().path(), "vg/vm-work-private");
        assert_eq!((source.device, source.size_bytes), (Some(3), 1 << 40));
        assert!(!source.is_still(&pool), "it can be written to");
        assert_eq!(listing.thin(&pool), None);
        assert_eq!(Listing::parse(&format!("{text}a warning\n")), None);
        assert_eq!(Listing::parse(&text.replace("|3|", "|three|")), None);
    }

    #[test]
    fn a_base_is_what_its_label_says_in_every_part() {
        let (pool, of) = (example().identity.pool, example().base.of);
        let bases = |text: &str| Listing::parse(text).unwrap().bases(&pool, &of).len();
        let tag = example().tag();
        let sound = lines("Vri---tz-k", 1 << 40, &format!("other,{tag}"));
        assert_eq!(bases(&sound), 1);
        let (device, uuid) = (sound.replace("|12|", "|13|"), example().identity.volume);
        for (spoilt, why) in [
            (lines("Vwi---tz-k", 1 << 40, &tag), "it can be written to"),
            (lines("Vri---tz-k", 1 << 41, &tag), "it has another size"),
            (device, "another device"),
            (sound.replacen(&uuid, SOURCE, 1), "another volume"),
            (lines("Vri---tz-k", 1 << 40, ""), "no label"),
            (
                lines("Vri---tz-k", 1 << 40, &tag[..tag.len() - 3]),
                "half a label",
            ),
        ] {
            assert_eq!(bases(&spoilt), 0, "{why}");
            let listing = Listing::parse(&spoilt).unwrap();
            assert!(
                listing.ours(&pool).all(|own| own.label.is_none()),
                "{why}: it counts as unfinished"
            );
        }
    }

    #[test]
    fn what_is_kept_is_never_unfinished_and_is_found_by_its_own_tag_alone() {
        let of = QubeVolume::of_name("vg", "vm-work-private").unwrap();
        let identity = example().identity;
        let line =
            |attributes, uuid: &str| lines(attributes, 1 << 40, &kept_tag(&[7; 16], &of, uuid));
        let kept = |text: &str, restore| {
            let listing = Listing::parse(text).unwrap();
            assert_eq!(listing.unfinished().count(), 0, "{text}");
            assert!(listing.ours(&identity.pool).all(|own| own.is_kept));
            let tag = |uuid: &str| kept_tag(&[restore; 16], &of, uuid);
            let kept = listing.kept(&identity.pool, &tag);
            kept.map(|(volume, _)| volume.path())
        };
        let sound = line("Vri---tz-k", &identity.volume);
        let path = Some("vg/wyng-00000000000000ab".to_owned());
        assert_eq!(kept(&sound, 7), path);
        assert_eq!(kept(&sound, 8), None, "another restore");
        let spoilt = line("Vwi---tz-k", &identity.volume);
        assert_eq!(kept(&spoilt, 7), None, "it can be written to");
        let copied = line("Vri---tz-k", SOURCE);
        assert_eq!(kept(&copied, 7), None, "the tag of another volume");
        let later = sound.replace("wyng-kept:1", "wyng-kept:2");
        assert_eq!(kept(&later, 7), None, "a form that is not known yet");
    }
}
