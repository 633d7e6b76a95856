//! Images on the node: told to users, and removed when the disk runs full and nobody uses them.

use crate::context::Context;
use crate::cri::{Answer, Runtime, v1};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ContainerImage;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Images shown on a Node, the largest first (upstream's number).
const SHOWN_MAX: usize = 50;
/// Names shown of one image (upstream's number).
const NAMES_MAX: usize = 5;
/// How often room is looked at (upstream's number).
const LOOK: Duration = Duration::from_secs(300);
/// Hundredths of the disk in use at which removing begins, and to which it goes (upstream's numbers).
const FULL: (u64, u64) = (85, 80);
/// An image younger than this is never removed: a pod may be about to use it (upstream's number).
const AGE_MIN: Duration = Duration::from_secs(120);

/// The largest images, for the Node's status.
pub(crate) async fn shown(runtime: &Runtime) -> Answer<Vec<ContainerImage>> {
    let mut images = runtime.images().await?;
    images.sort_by_key(|image| (std::cmp::Reverse(image.size), image.id.clone()));
    let names = |image: &v1::Image| {
        let all = image.repo_digests.iter().chain(&image.repo_tags).cloned();
        all.take(NAMES_MAX).collect::<Vec<_>>()
    };
    let shown = images.iter().take(SHOWN_MAX).map(|image| ContainerImage {
        names: Some(names(image)),
        size_bytes: i64::try_from(image.size).ok(),
    });
    Ok(shown.collect())
}

/// What may be removed, the one unused for the longest first.
fn unused<'a>(
    images: &'a [v1::Image],
    used: &BTreeSet<String>,
    seen: &Ages,
    now: Timestamp,
) -> Vec<&'a v1::Image> {
    let names = |image: &'a v1::Image| {
        std::iter::once(&image.id).chain(&image.repo_tags).chain(&image.repo_digests)
    };
    let is_old = |image: &&v1::Image| {
        seen.get(&image.id).is_some_and(|(first, _)| {
            Duration::try_from(now.duration_since(*first)).is_ok_and(|age| age >= AGE_MIN)
        })
    };
    let mut list: Vec<&v1::Image> = images
        .iter()
        .filter(|image| !image.pinned && !names(image).any(|name| used.contains(name)))
        .filter(is_old)
        .collect();
    list.sort_by_key(|image| (seen.get(&image.id).map(|(_, last)| *last), image.id.clone()));
    list
}

/// When an image was seen first, and used last.
type Ages = BTreeMap<String, (Timestamp, Timestamp)>;

/// What is known of images.
#[derive(Debug, Default)]
pub(crate) struct Images {
    /// The image of sandboxes, which is in use even where there is none.
    sandbox: Option<String>,
    /// By id. `None` before the first look: what is there then has been there for ever.
    ages: Mutex<Option<Ages>>,
}

impl Images {
    pub(crate) fn new(sandbox: Option<String>) -> Self {
        Self { sandbox, ages: Mutex::default() }
    }

    fn note(&self, images: &[v1::Image], used: &BTreeSet<String>, now: Timestamp) -> Ages {
        let mut ages = self.ages.lock();
        let first = if ages.is_none() { Timestamp::UNIX_EPOCH } else { now };
        let ages = ages.get_or_insert_default();
        ages.retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in images {
            let entry = ages.entry(image.id.clone()).or_insert((first, now));
            if used.contains(&image.id) {
                entry.1 = now;
            }
        }
        ages.clone()
    }
}

/// Removes unused images when the disk runs full, for as long as the agent runs.
pub(crate) async fn collect(context: Arc<Context>) {
    loop {
        if let Err(failure) = once(&context).await {
            tracing::debug!("images not looked at: {failure}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Images that may be removed.
async fn spare(context: &Context) -> Answer<Vec<v1::Image>> {
    let now = context.setup.clock.now();
    let runtime = &context.runtime;
    let images = runtime.images().await?;
    let mut used: BTreeSet<String> = context.images.sandbox.iter().cloned().collect();
    // whoever made a container, its image is in use
    for container in runtime.containers(&BTreeMap::new()).await? {
        used.extend([container.image_ref, container.image.unwrap_or_default().image]);
    }
    let ages = context.images.note(&images, &used, now);
    Ok(unused(&images, &used, &ages, now).into_iter().cloned().collect())
}

async fn remove(context: &Context, image: &v1::Image) {
    let name = image.repo_tags.first().unwrap_or(&image.id);
    tracing::info!("removing the unused image {name}");
    if let Err(failure) = context.runtime.remove_image(&image.id).await {
        tracing::warn!("the image {name} stays: {failure}");
    }
}

/// Removes every image that nobody uses, as the node is short of disk or files.
pub(crate) async fn reclaim(context: &Context) -> Answer<()> {
    for image in spare(context).await? {
        remove(context, &image).await;
    }
    Ok(())
}

async fn once(context: &Context) -> Answer<()> {
    let spare = spare(context).await?;
    let Some(place) = context.runtime.image_place().await? else { return Ok(()) };
    let percent = || in_use(Path::new(&place));
    if percent() < FULL.0 {
        return Ok(());
    }
    for image in spare {
        if percent() < FULL.1 {
            return Ok(());
        }
        tracing::info!("the disk of images is {} % full", percent());
        remove(context, &image).await;
    }
    if percent() >= FULL.0 {
        tracing::warn!("the disk of images is {} % full, and every image is in use", percent());
    }
    Ok(())
}

/// Hundredths of a disk that are in use.
fn in_use(place: &Path) -> u64 {
    let Ok(disk) = rustix::fs::statvfs(place) else { return 0 };
    let free = disk.f_bavail.saturating_mul(100).checked_div(disk.f_blocks).unwrap_or(100);
    100 - free.min(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_in_use_new_or_pinned_stay_and_the_longest_unused_goes_first() {
        let image = |id: &str, pinned: bool| v1::Image {
            id: id.to_owned(),
            repo_tags: vec![format!("{id}:1")],
            pinned,
            ..v1::Image::default()
        };
        let images = [
            image("late", false),
            image("early", false),
            image("used", false),
            image("new", false),
            image("pinned", true),
        ];
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let seen = [
            ("late", (0, 50)),
            ("early", (0, 10)),
            ("used", (0, 0)),
            ("new", (950, 950)),
            ("pinned", (0, 0)),
        ]
        .map(|(id, (first, last))| (id.to_owned(), (at(first), at(last))))
        .into();
        let used = ["used:1".to_owned()].into();
        let list = unused(&images, &used, &seen, at(1000));
        assert_eq!(
            list.iter().map(|image| image.id.as_str()).collect::<Vec<_>>(),
            ["early", "late"]
        );
    }
}
