//! `image/layout.toml`: what an image is made of, as data.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layout {
    pub(crate) image: Image,
    #[serde(rename = "program")]
    pub(crate) programs: Vec<Program>,
    pub(crate) tool_root: ToolRoot,
    pub(crate) tree: Tree,
    pub(crate) kernel: Kernel,
    #[serde(rename = "partition")]
    pub(crate) partitions: Vec<Partition>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Image {
    pub(crate) id: String,
    pub(crate) variant: String,
    pub(crate) route: String,
    pub(crate) hostname: String,
    pub(crate) tree_bytes_max: u64,
}

/// A static program of ours and its place in the image.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) path: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolRoot {
    pub(crate) path: String,
    pub(crate) required: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tree {
    pub(crate) directories: Vec<String>,
    pub(crate) links: BTreeMap<String, String>,
    pub(crate) required: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernel {
    pub(crate) meta_package: String,
    pub(crate) modules: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Partition {
    pub(crate) label: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) uuid: String,
    pub(crate) size_bytes: u64,
    pub(crate) content: Content,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Content {
    Root,
    Data,
}

impl Layout {
    pub(crate) fn parse(text: &str) -> Result<Layout, toml::de::Error> {
        toml::from_str(text)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn shipped() -> Layout {
        Layout::parse(include_str!("../../layout.toml")).unwrap()
    }

    #[test]
    fn the_shipped_layout_is_whole() {
        let layout = shipped();
        assert_eq!(
            layout.partitions.iter().map(|partition| partition.content).collect::<Vec<_>>(),
            [Content::Root, Content::Data]
        );
        assert!(layout.programs.iter().any(|program| program.path == "sbin/init"));
    }

    #[test]
    fn unknown_keys_fail() {
        assert!(Layout::parse(&format!("{}\nsurprise = 1\n", include_str!("../../layout.toml"))).is_err());
    }
}
