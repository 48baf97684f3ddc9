package local

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"presence"
	"presence/internal/local/appsync"
)

const (
	certificateFile = "certificate.pem"
	keyFile         = "key.pem"
	lockFile        = "lock"
	// renewBefore is how long before its end a certificate is replaced.
	renewBefore = 30 * 24 * time.Hour
	// maxPEM is more than what a certificate or a key takes.
	maxPEM = 64 << 10
)

// certificate returns the certificate to serve with, and the file that clients
// have to trust. The certificate is kept in a private folder, so that clients
// have to be told once. Whoever could write there could have them trust a key
// of their own.
func certificate() (cert tls.Certificate, path string, err error) {
	dir, folder, err := privateFolder()
	if err != nil {
		return cert, "", err
	}
	defer func() { _ = folder.Close() }() // Nothing is written to the folder itself.
	// Servers that start at the same time must end with the same certificate.
	lock, err := folder.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return cert, "", unusable(dir, err)
	}
	defer func() { _ = lock.Close() }() // It is empty.
	if err := lockExclusively(lock); err != nil {
		return cert, "", unusable(dir, err)
	}
	path = filepath.Join(dir, certificateFile)
	if cert, ok := kept(folder); ok {
		return cert, path, nil
	}
	cert, err = renew(folder)
	if err != nil {
		return cert, "", unusable(dir, err)
	}
	return cert, path, nil
}

// privateFolder opens the folder that only this user can write, and makes it if
// it is not there.
func privateFolder() (dir string, folder *os.Root, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", nil, &presence.Error{Code: presence.InvalidArgument, Message: "There is no folder for the server's certificate: set HOME or XDG_CACHE_HOME", Err: err}
	}
	dir = filepath.Join(cache, "presence-api")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", nil, unusable(dir, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", nil, unusable(dir, err)
	}
	named, err := os.Lstat(dir)
	if err != nil {
		return "", nil, unusable(dir, err)
	}
	if !named.IsDir() {
		return "", nil, presence.Errorf(presence.InvalidArgument, "The server's certificate cannot be kept in %s: it is not a folder. Remove it.", dir)
	}
	folder, err = os.OpenRoot(dir)
	if err != nil {
		return "", nil, unusable(dir, err)
	}
	// What is checked is what was opened, whatever has the name by now.
	opened, err := folder.Stat(".")
	switch {
	case err != nil:
		err = unusable(dir, err)
	case !os.SameFile(named, opened):
		err = presence.Errorf(presence.InvalidArgument, "The server's certificate cannot be kept in %s: it was replaced while it was opened.", dir)
	case !owned(opened):
		err = presence.Errorf(presence.InvalidArgument, "The server's certificate cannot be kept in %s: the folder belongs to another user. Remove it, or set XDG_CACHE_HOME to a folder of yours.", dir)
	case writableByOthers(opened):
		err = presence.Errorf(presence.InvalidArgument, "The server's certificate cannot be kept in %s: other users can write there. Remove the folder and what is in it.", dir)
	default:
		return dir, folder, nil
	}
	_ = folder.Close() // The error that matters is err.
	return "", nil, err
}

// unusable is the error of a folder that cannot be used for the reason err.
func unusable(dir string, err error) error {
	return &presence.Error{Code: presence.InvalidArgument, Message: "The server's certificate cannot be kept in " + dir, Err: err}
}

// kept returns the folder's certificate, unless there is none that is whole,
// private and valid for long enough.
func kept(folder *os.Root) (cert tls.Certificate, ok bool) {
	certPEM, err := readOwn(folder, certificateFile)
	if err != nil {
		return cert, false
	}
	keyPEM, err := readOwn(folder, keyFile)
	if err != nil {
		return cert, false
	}
	cert, err = tls.X509KeyPair(certPEM, keyPEM)
	if err != nil || len(cert.Certificate) != 1 || cert.Leaf.IsCA {
		return cert, false
	}
	now := time.Now()
	return cert, now.After(cert.Leaf.NotBefore) && now.Add(renewBefore).Before(cert.Leaf.NotAfter)
}

// readOwn reads a file that is no link and that only this user can read and
// write.
func readOwn(folder *os.Root, name string) ([]byte, error) {
	info, err := folder.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || !owned(info) || readableByOthers(info) || info.Size() > maxPEM {
		return nil, fs.ErrPermission
	}
	return folder.ReadFile(name)
}

// renew makes a certificate and replaces the folder's by it.
func renew(folder *os.Root) (tls.Certificate, error) {
	cert, certPEM, err := appsync.SelfSigned()
	if err != nil {
		return cert, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return cert, err
	}
	return cert, errors.Join(
		replace(folder, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
		replace(folder, certificateFile, certPEM),
	)
}

// replace writes a file beside the one with that name, and then puts it in its
// place. So a link there is replaced and not followed, and nobody reads a half.
func replace(folder *os.Root, name string, content []byte) error {
	beside := name + "." + rand.Text()
	f, err := folder.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.ReadFrom(bytes.NewReader(content))
	if err = errors.Join(err, f.Close()); err == nil {
		err = folder.Rename(beside, name)
	}
	if err != nil {
		_ = folder.Remove(beside) // The error that matters is the one before.
	}
	return err
}
