//! Pages of prompts that sessions have in common: a tree with a page of tokens at each node.

use std::collections::HashMap;
use std::sync::Arc;

use super::page::Page;

/// Names a node; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(u64);

/// The tree. What it holds can be used by any session that begins with the same tokens, for then keys and values are the
/// same bits.
#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    /// The node below a parent that a page of tokens leads to.
    edges: HashMap<(Option<NodeId>, Box<[u32]>), NodeId>,
    nodes: HashMap<NodeId, Node>,
    /// Counts insertions and uses.
    clock: u64,
}

#[derive(Debug)]
struct Node {
    parent: Option<NodeId>,
    tokens: Box<[u32]>,
    /// One a layer.
    pages: Vec<Arc<Page>>,
    children: usize,
    used: u64,
}

impl Prefixes {
    /// How many pages of tokens are held.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The node below `parent` for `tokens` and its pages.
    pub(super) fn find(&mut self, parent: Option<NodeId>, tokens: &[u32]) -> Option<(NodeId, &[Arc<Page>])> {
        let id = *self.edges.get(&(parent, tokens.into()))?;
        self.clock += 1;
        let node = self.nodes.get_mut(&id)?;
        node.used = self.clock;
        Some((id, &node.pages))
    }

    /// Adds a node, unless it is there; `None` where its parent is gone.
    pub(super) fn insert(
        &mut self,
        parent: Option<NodeId>,
        tokens: &[u32],
        pages: Vec<Arc<Page>>,
    ) -> Option<NodeId> {
        if let Some((id, _)) = self.find(parent, tokens) {
            return Some(id);
        }
        if let Some(parent) = parent {
            self.nodes.get_mut(&parent)?.children += 1;
        }
        self.clock += 1;
        let (id, tokens) = (NodeId(self.clock), Box::from(tokens));
        self.edges.insert((parent, Box::clone(&tokens)), id);
        self.nodes.insert(id, Node { parent, tokens, pages, children: 0, used: self.clock });
        Some(id)
    }

    /// Drops the leaf that was not used for longest among those that free memory; `false` where there is none.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let frees = |node: &Node| node.pages.iter().any(|page| Arc::strong_count(page) == 1);
        let leaves = self.nodes.iter().filter(|(_, node)| node.children == 0 && frees(node));
        let Some((&id, _)) = leaves.min_by_key(|(_, node)| node.used) else { return false };
        let Some(Node { parent, tokens, .. }) = self.nodes.remove(&id) else { return false };
        if let Some(parent) = parent.and_then(|parent| self.nodes.get_mut(&parent)) {
            parent.children -= 1;
        }
        self.edges.remove(&(parent, tokens));
        true
    }
}
