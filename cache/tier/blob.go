package tier

import "errors"

// Blobs is the part of a tier that keeps bodies too large for memory, each in
// a blob. Its methods may be called by any goroutine.
type Blobs interface {
	// Largest is how many bytes a body may have.
	Largest() int64
	// Create begins a blob, which its caller has open. It does not touch the
	// disk, and fails with ErrUnavailable while the tier cannot be used.
	Create() (Blob, error)
	// Sweep drops the blobs whose values are expired, or ended says so.
	Sweep(ended func(value []byte) bool)
}

// ChunkSize is the number of bytes by which blobs are written and read. Each
// chunk is checked on its own.
const ChunkSize = 128 << 10

// Blob is a body on disk. One goroutine writes it: Append, Finish, Seal. Any
// number may read at once.
type Blob interface {
	// Append adds a chunk and keeps none of it. All but the last one have
	// ChunkSize bytes.
	Append(chunk []byte) error
	// Finish ends the body, of which no byte changes any more.
	Finish() error
	// Seal forces the blob onto the disk. Only then may a value refer to it.
	// It needs the blob to be open.
	Seal() error

	// Length is how many bytes the body has by now.
	Length() int64
	// Open lends the blob for reading until Close. It fails if the blob was
	// dropped or is damaged.
	Open() error
	// Close ends what Create or Open began. A blob that was dropped takes
	// space on the disk until then.
	Close()
	// Read returns the bytes from offset to the end of their chunk, checked.
	// They lie in buf, which has ChunkSize bytes.
	Read(buf []byte, offset int64) ([]byte, error)

	// Discard drops the blob if no value refers to it.
	Discard()
	// Drop ends the blob and the values that refer to it.
	Drop()
}

// Errors of a Blob.
var (
	// ErrDamaged: what is on the disk is not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrDropped: the blob has made room for others, or was no longer needed.
	ErrDropped = errors.New("blob was dropped")
)
