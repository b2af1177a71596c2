/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The layout of qcow2 images: pure functions from bytes to host-order structures.
 *
 * Versions 2 and 3.  Every integer is big-endian, every table and every standard cluster
 * begins at a multiple of the cluster size.
 *
 *   cluster 0                       any later clusters, in any order
 *   +--------+------------+---------+----+----+----------+----------+------+-----------+
 *   | header | extensions | backing | L1 | L2 | refcount | refcount | data | snapshot, |
 *   |        | type, len… | name    |    |    | table    | blocks   |      | bitmap …  |
 *   +--------+------------+---------+----+----+----------+----------+------+-----------+
 *
 *   guest offset  =  L1 index | L2 index | offset within the cluster
 *
 *   L1 entry      63      62..56  55..9            8..0
 *                 copied  0       L2 table, 0 = no 0
 *   L2 entry      63      62 61..56  55..9             8..1  0
 *    standard     copied  0  0       cluster, 0 = no   0     reads as zeros
 *    compressed   0       1  61..x: sectors after the first   x-1..0: byte offset
 *                            x = 70 - cluster_bits
 *    extended     a second word: 63..32 subcluster reads as zeros, 31..0 is allocated
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QCOW2_MAGIC          0x514649fbu /* "QFI\xfb" */
#define QCOW2_HEADER_V2_SIZE 72u
#define QCOW2_HEADER_V3_SIZE 104u
#define QCOW2_HEADER_MAX     112u /* the fields known today */

/* The format's own bounds; QEMU opens nothing beyond them either. */
#define QCOW2_MIN_CLUSTER_BITS   9u
#define QCOW2_MAX_CLUSTER_BITS   21u
#define QCOW2_MAX_REFCOUNT_ORDER 6u
#define QCOW2_MAX_BACKING_NAME   1023u

/* An extended entry has 32 subclusters, and none may be smaller than a sector. */
#define QCOW2_SUBCLUSTER_BITS   5u
#define QCOW2_MIN_EXTENDED_BITS 14u

/* QEMU's limits, so that whatever it can open fits: an L1 table for 2 EiB at the largest
 * cluster size, … */
#define QCOW2_MAX_L1_BYTES (32u << 20)
/* … a refcount table for as much, … */
#define QCOW2_MAX_REFCOUNT_TABLE_BYTES (8u << 20)
/* … and 1 KiB for each snapshot and each bitmap on average. */
#define QCOW2_MAX_SNAPSHOTS       65536u
#define QCOW2_MAX_SNAPSHOT_BYTES  (UINT64_C (1024) * QCOW2_MAX_SNAPSHOTS)
#define QCOW2_MAX_SNAPSHOT_EXTRA  1024u
#define QCOW2_MAX_BITMAPS         65535u
#define QCOW2_MAX_DIRECTORY_BYTES (UINT64_C (1024) * QCOW2_MAX_BITMAPS)

/* No format has a longer name, and no file that Linux opens. */
#define QCOW2_MAX_FORMAT_NAME    255u
#define QCOW2_MAX_DATA_FILE_NAME 4095u

#define QCOW2_INCOMPATIBLE_DIRTY       (UINT64_C (1) << 0)
#define QCOW2_INCOMPATIBLE_CORRUPT     (UINT64_C (1) << 1)
#define QCOW2_INCOMPATIBLE_DATA_FILE   (UINT64_C (1) << 2)
#define QCOW2_INCOMPATIBLE_COMPRESSION (UINT64_C (1) << 3)
#define QCOW2_INCOMPATIBLE_EXTENDED_L2 (UINT64_C (1) << 4)
#define QCOW2_INCOMPATIBLE_KNOWN       UINT64_C (0x1f)
#define QCOW2_COMPATIBLE_LAZY          (UINT64_C (1) << 0)
#define QCOW2_AUTOCLEAR_BITMAPS        (UINT64_C (1) << 0)
#define QCOW2_AUTOCLEAR_DATA_FILE_RAW  (UINT64_C (1) << 1)

/* Header extensions. */
#define QCOW2_EXTENSION_END            0x00000000u
#define QCOW2_EXTENSION_BACKING_FORMAT 0xe2792acau
#define QCOW2_EXTENSION_FEATURE_NAMES  0x6803f857u
#define QCOW2_EXTENSION_BITMAPS        0x23852875u
#define QCOW2_EXTENSION_CRYPT          0x0537be77u
#define QCOW2_EXTENSION_DATA_FILE      0x44415441u

#define QCOW2_COMPRESSION_DEFLATE 0u
#define QCOW2_COMPRESSION_ZSTD    1u

#define QCOW2_CRYPT_NONE 0u
#define QCOW2_CRYPT_AES  1u
#define QCOW2_CRYPT_LUKS 2u

/* The header, fields in their order; what version 2 lacks has its fixed value. */
typedef struct {
  uint32_t version;
  uint64_t backing_offset; /* 0: no parent */
  uint32_t backing_length;
  uint32_t cluster_bits;
  uint64_t size; /* of the virtual disk, bytes */
  uint32_t crypt_method;
  uint32_t l1_entries;
  uint64_t l1_offset;
  uint64_t refcount_offset;
  uint32_t refcount_clusters;
  uint32_t snapshot_count;
  uint64_t snapshot_offset;
  uint64_t incompatible, compatible, autoclear;
  uint32_t refcount_order;
  uint32_t header_length;
  uint32_t compression;
} Qcow2Header;

/* Decodes the first LEN bytes of a file as far as is needed to find the header
 * extensions: signature, version, cluster size and header length hold afterwards. */
bool qcow2_header_decode (const uint8_t *bytes, size_t len, Qcow2Header *ret_header,
                          GError **error);

/* All other fields, in a file of FILE_SIZE bytes.  Unknown incompatible features are
 * another function's business, since their names are in an extension. */
bool qcow2_header_check (const Qcow2Header *header, uint64_t file_size, GError **error);

/* An L1 table that covers SIZE bytes of disk: its place, its limits, and that it is long
 * enough.  WHAT names it.  Sets how many entries are needed. */
bool qcow2_l1_check (const Qcow2Header *header, const char *what, uint64_t offset,
                     uint64_t entries, uint64_t size, uint64_t file_size,
                     uint64_t *ret_needed, GError **error);

/* How many bytes of the disk one L1 entry covers, as a power of two. */
unsigned qcow2_l1_shift (const Qcow2Header *header);

/* The other way, for new images: a header of version 3, the format of the parent and its
 * name, one after the other.  Sets the place and length of the name in HEADER, whose
 * other fields stand.  What does not fit into AREA_LEN bytes is refused. */
bool qcow2_head_encode (Qcow2Header *header, const char *backing_name,
                        const char *backing_format, uint8_t *area, size_t area_len,
                        size_t *ret_len, GError **error);

/* L1 and L2 entries, as far as both have it. */
#define QCOW2_ENTRY_COPIED      (UINT64_C (1) << 63)
#define QCOW2_ENTRY_COMPRESSED  (UINT64_C (1) << 62)
#define QCOW2_ENTRY_ZERO        (UINT64_C (1) << 0)
#define QCOW2_ENTRY_OFFSET_MASK UINT64_C (0x00fffffffffffe00)

/* Fields that change, by their place in the header; none crosses a sector. */
#define QCOW2_AT_REFCOUNT_TABLE 48u /* its offset, then its clusters, 12 bytes in all */
#define QCOW2_AT_INCOMPATIBLE   72u
#define QCOW2_AT_AUTOCLEAR      88u

/* Places of refcount blocks, in the refcount table. */
#define QCOW2_REFCOUNT_OFFSET_MASK (~UINT64_C (0x1ff))

/* Which of the three words of feature bits. */
typedef enum {
  QCOW2_FEATURE_INCOMPATIBLE = 0,
  QCOW2_FEATURE_COMPATIBLE = 1,
  QCOW2_FEATURE_AUTOCLEAR = 2,
} Qcow2FeatureKind;

/* What the header extensions say. */
typedef struct {
  char *backing_format;   /* NULL: not said */
  char *data_file;        /* NULL: not said */
  uint8_t *feature_names; /* the feature name table, a copy, or NULL */
  size_t feature_count;   /* entries in it */
  bool has_bitmaps;
  uint32_t bitmap_count;
  uint64_t directory_size, directory_offset; /* of the bitmaps */
  bool has_crypt;
  uint64_t crypt_offset, crypt_size; /* of the encryption header, in bytes */
} Qcow2Extensions;

/* Walks the extensions in AREA, the first cluster or what the file has of it. */
bool qcow2_extensions_decode (const Qcow2Header *header, const uint8_t *area,
                              size_t area_len, Qcow2Extensions *ret_extensions,
                              GError **error);
void qcow2_extensions_clear (Qcow2Extensions *extensions);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Qcow2Extensions, qcow2_extensions_clear)

/* The parent's name from AREA; *ret_name is NULL where there is none. */
bool qcow2_backing_name_decode (const Qcow2Header *header, const uint8_t *area,
                                size_t area_len, char **ret_name, GError **error);

/* A name for one feature bit: ours, the image's, or "bit N".  Valid UTF-8; caller frees.
 */
char *qcow2_feature_name (const Qcow2Extensions *extensions, Qcow2FeatureKind kind,
                          unsigned bit);

/* Fails, by name, where an incompatible feature is set that this driver lacks. */
bool qcow2_features_check (const Qcow2Header *header, const Qcow2Extensions *extensions,
                           GError **error);

/* What decoding a table entry needs to know of its image. */
typedef struct {
  uint64_t file_size; /* of the image's own file */
  uint64_t data_size; /* of the file in which standard clusters lie */
  unsigned cluster_bits;
  unsigned l2_bits;         /* entries of one L2 table, as a power of two */
  unsigned entry_words;     /* 1; 2 with extended L2 entries */
  unsigned subcluster_bits; /* bytes of a subcluster; cluster_bits where there are none */
  bool zero_flag;           /* bit 0 means something: version 3, standard L2 entries */
  bool external; /* clusters lie in a data file of their own, at the guest's offsets */
} Qcow2Geometry;

/* For an image of FILE_SIZE bytes whose clusters lie in a file of DATA_SIZE bytes. */
Qcow2Geometry qcow2_geometry (const Qcow2Header *header, uint64_t file_size,
                              uint64_t data_size);

typedef enum {
  QCOW2_UNALLOCATED, /* the parent's, or zeros */
  QCOW2_ZERO,
  QCOW2_DATA,
  QCOW2_COMPRESSED,
  QCOW2_BAD,
} Qcow2Kind;

/* What one entry points at. */
typedef struct {
  Qcow2Kind kind;
  uint32_t stored;    /* COMPRESSED: bytes at most, in whole sectors */
  uint64_t at;        /* DATA: of the cluster's first byte.  COMPRESSED: of the stream */
  const char *reason; /* BAD; static text */
} Qcow2Cluster;

/* DATA: the L2 table at AT. */
Qcow2Cluster qcow2_l1_decode (const Qcow2Geometry *geometry, uint64_t entry);

/* What the entry_words words of ENTRY say of subcluster SUB (0 where there are none) of
 * the cluster at GUEST on the disk.  Returns for how many subclusters it is the same:
 * ≥ 1, never past the cluster. */
unsigned qcow2_l2_decode (const Qcow2Geometry *geometry, const uint64_t *entry,
                          uint64_t guest, unsigned sub, Qcow2Cluster *ret_cluster);

/* What an L2 entry means to who changes it. */
typedef enum {
  QCOW2_USE_EMPTY,   /* no place of its own */
  QCOW2_USE_OWN,     /* a cluster that may be overwritten */
  QCOW2_USE_FOREIGN, /* one that is shared, or compressed */
  QCOW2_USE_BAD,
} Qcow2Use;

/* An L2 entry taken apart.  Where there are no subclusters, the cluster is its own only
 * one. */
typedef struct {
  Qcow2Use use;
  bool compressed;
  uint64_t at, length;      /* OWN, FOREIGN: the host clusters that it occupies */
  uint32_t allocated, zero; /* by subcluster; neither: the parent's */
  const char *reason;       /* BAD; static text */
} Qcow2Entry;

/* All subclusters of a cluster, as bits. */
static inline uint32_t
qcow2_all_subclusters (const Qcow2Geometry *geometry)
{
  return geometry->entry_words == 2 ? UINT32_MAX : 1;
}

/* Subclusters [FIRST, END), as bits. */
static inline uint32_t
qcow2_subclusters (uint64_t first, uint64_t end)
{
  return (uint32_t)(((UINT64_C (1) << (end - first)) - 1) << first);
}

/* Takes the entry in WORDS, of the cluster at GUEST, apart. */
Qcow2Entry qcow2_entry_parse (const Qcow2Geometry *geometry, const uint64_t *words,
                              uint64_t guest);
/* The words of ENTRY, which is not compressed, and what the image has flags for. */
void qcow2_entry_build (const Qcow2Geometry *geometry, const Qcow2Entry *entry,
                        uint64_t *ret_words);

/* One entry of the snapshot table. */
typedef struct {
  uint64_t l1_offset;
  uint32_t l1_entries;
  uint32_t date_seconds, date_nanoseconds;
  uint64_t clock_nanoseconds; /* how long the guest had run */
  uint64_t vm_state_size;
  bool has_size;
  uint64_t size; /* of the disk then, where has_size */
  size_t stored; /* bytes of the entry, padding excluded */
  char *id, *name;
} Qcow2Snapshot;

#define QCOW2_SNAPSHOT_FIXED 40u /* bytes of an entry before what varies */

void qcow2_snapshot_free (Qcow2Snapshot *snapshot);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Qcow2Snapshot, qcow2_snapshot_free)

/* From its QCOW2_SNAPSHOT_FIXED first BYTES, how long the entry is, padding excluded.
 * Fails where its extra data is beyond the limit. */
bool qcow2_snapshot_length (const uint8_t *bytes, size_t *ret_length, GError **error);

/* The whole entry, LEN being what qcow2_snapshot_length said; NULL where it is less. */
Qcow2Snapshot *qcow2_snapshot_decode (const uint8_t *bytes, size_t len, GError **error);

/* One entry of the bitmap directory. */
typedef struct {
  uint64_t table_offset;
  uint32_t table_entries;
  uint32_t flags;
  uint8_t type;
  uint8_t granularity_bits; /* ≤ 63 */
  uint32_t extra_length;    /* of data of the type's own, which is left alone */
  char *name;
} Qcow2Bitmap;

#define QCOW2_BITMAP_IN_USE (1u << 0)
#define QCOW2_BITMAP_AUTO   (1u << 1)
#define QCOW2_BITMAP_EXTRA  (1u << 2)

void qcow2_bitmap_free (Qcow2Bitmap *bitmap);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Qcow2Bitmap, qcow2_bitmap_free)

/* COUNT entries of a directory of LEN bytes, as a GPtrArray of Qcow2Bitmap. */
GPtrArray *qcow2_bitmaps_decode (const uint8_t *bytes, size_t len, uint32_t count,
                                 GError **error);

/* How many of the first N entries of a refcount block are not 0; an entry has 1 << ORDER
 * bits, N of them lie in BYTES. */
uint64_t qcow2_refcounts_used (const uint8_t *bytes, uint64_t n, unsigned order);

/* Entry I of a refcount block, as the file has it in BYTES. */
uint64_t qcow2_refcount_get (const uint8_t *bytes, uint64_t i, unsigned order);
/* VALUE fits. */
void qcow2_refcount_set (uint8_t *bytes, uint64_t i, unsigned order, uint64_t value);
