//go:build unix

package local

import (
	"io/fs"
	"os"
	"syscall"
)

// owned reports whether a file or folder belongs to this user.
func owned(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// writableByOthers reports whether other users can change what is in a folder.
func writableByOthers(info fs.FileInfo) bool { return info.Mode().Perm()&0o022 != 0 }

// readableByOthers reports whether other users have any right to a file.
func readableByOthers(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }

// lockExclusively waits until no other process has the lock. Closing f gives it
// back.
func lockExclusively(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
}
