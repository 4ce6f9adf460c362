// SPDX-License-Identifier: MIT OR Apache-2.0

// Writes trees.jsonl: the reference trees, and the paths in them that proof_test.go and tree_test.go
// ask for. How to run it stands in README.md.

package testonly

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/transparency-dev/merkle/rfc6962"
)

func texts(hashes [][]byte) []string {
	texts := []string{}
	for _, hash := range hashes {
		texts = append(texts, hex.EncodeToString(hash))
	}
	return texts
}

type path struct {
	Kind  string   `json:"kind"`
	At    uint64   `json:"at"`
	Size  uint64   `json:"size"`
	Proof []string `json:"proof"`
}

type writer struct {
	out     *json.Encoder
	entries [][]byte
}

func (w writer) tree(roots [][]byte) {
	w.out.Encode(struct {
		Kind   string   `json:"kind"`
		Leaves []string `json:"leaves"`
		Roots  []string `json:"roots"`
	}{"tree", texts(w.entries), texts(roots)})
}

func (w writer) inclusion(index, size uint64) {
	proof := refInclusionProof(w.entries[:size], index, rfc6962.DefaultHasher)
	w.out.Encode(path{"inclusion", index, size, texts(proof)})
}

func (w writer) consistency(size1, size2 uint64) {
	proof := refConsistencyProof(w.entries[:size2], size2, size1, rfc6962.DefaultHasher, true)
	w.out.Encode(path{"consistency", size1, size2, texts(proof)})
}

// The tree of constants.go: every path in it.
func reference(out *json.Encoder) {
	w := writer{out, LeafInputs()}
	w.tree(RootHashes())
	for size := uint64(1); size <= 8; size++ {
		for at := uint64(0); at < size; at++ {
			w.inclusion(at, size)
			w.consistency(at+1, size)
		}
	}
}

// The leaves of tree_test.go, and the sizes that proof_test.go has beyond those of constants.go.
func larger(out *json.Encoder) {
	w := writer{out, genEntries(95)}
	tree, roots := newTree(w.entries), [][]byte{}
	for size := uint64(0); size <= tree.Size(); size++ {
		roots = append(roots, tree.HashAt(size))
	}
	w.tree(roots)
	for _, p := range [][2]uint64{{10, 15}, {24, 31}, {81, 95}} {
		w.inclusion(p[0], p[1])
		w.consistency(p[0], p[1])
	}
}

func TestWriteCases(t *testing.T) {
	file, err := os.Create(os.Getenv("CASES") + "/trees.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	out := json.NewEncoder(file)
	reference(out)
	larger(out)
}
