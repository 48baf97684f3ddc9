//go:build !unix

package local

import (
	"io/fs"
	"os"
)

// On Windows the user's cache folder is private: its access list is what counts,
// and the modes that Go shows say nothing.

func owned(fs.FileInfo) bool { return true }

func writableByOthers(fs.FileInfo) bool { return false }

func readableByOthers(fs.FileInfo) bool { return false }

func lockExclusively(*os.File) error { return nil }
