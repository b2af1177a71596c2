/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: the entries of L1 tables, L2 tables and refcount blocks. */
#include "base/bytes.h"
#include "formats/qcow2/qcow2-layout.h"

#define L1_RESERVED_MASK UINT64_C (0x7f000000000001ff)
#define L2_RESERVED_MASK UINT64_C (0x3f000000000001fe)

/* Host offsets have 56 bits, also where the field of a compressed cluster has more. */
#define OFFSET_BITS_MAX 56u
#define SECTOR          512u

Qcow2Geometry
qcow2_geometry (const Qcow2Header *header, uint64_t file_size, uint64_t data_size)
{
  bool extended = (header->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2) != 0;

  return (Qcow2Geometry){
      .file_size = file_size,
      .data_size = data_size,
      .cluster_bits = header->cluster_bits,
      .l2_bits = header->cluster_bits - (extended ? 4 : 3),
      .entry_words = extended ? 2 : 1,
      .subcluster_bits = header->cluster_bits - (extended ? QCOW2_SUBCLUSTER_BITS : 0),
      .zero_flag = header->version >= 3 && !extended,
      .external = (header->incompatible & QCOW2_INCOMPATIBLE_DATA_FILE) != 0,
  };
}

static inline Qcow2Cluster
bad (const char *reason)
{
  return (Qcow2Cluster){.kind = QCOW2_BAD, .reason = reason};
}

static inline bool
is_aligned (const Qcow2Geometry *g, uint64_t at)
{
  return (at & ((UINT64_C (1) << g->cluster_bits) - 1)) == 0;
}

Qcow2Cluster
qcow2_l1_decode (const Qcow2Geometry *geometry, uint64_t entry)
{
  uint64_t at = entry & QCOW2_ENTRY_OFFSET_MASK;

  if (entry & L1_RESERVED_MASK)
    return bad ("L1 entry has reserved bits set");
  if (at == 0)
    return (Qcow2Cluster){.kind = QCOW2_UNALLOCATED};
  if (!is_aligned (geometry, at))
    return bad ("L1 entry is not aligned to the cluster size");
  if (at >= geometry->file_size)
    return bad ("L1 entry points past the end of the file");
  return (Qcow2Cluster){.kind = QCOW2_DATA, .at = at};
}

static Qcow2Cluster
decode_compressed (const Qcow2Geometry *g, const uint64_t *entry)
{
  unsigned offset_bits = 70 - g->cluster_bits;
  uint64_t at = entry[0] & ((UINT64_C (1) << offset_bits) - 1);
  uint64_t sectors = (entry[0] & (QCOW2_ENTRY_COMPRESSED - 1)) >> offset_bits;

  if (g->external)
    return bad ("L2 entry is compressed in an image with an external data file");
  if (at >> OFFSET_BITS_MAX != 0 || (g->entry_words == 2 && entry[1] != 0))
    return bad ("L2 entry has reserved bits set");
  if (at >= g->file_size)
    return bad ("L2 entry points past the end of the file");
  return (Qcow2Cluster){
      .kind = QCOW2_COMPRESSED,
      .at = at,
      .stored = (uint32_t)((sectors + 1) * SECTOR - at % SECTOR),
  };
}

/* What makes a standard entry senseless whatever it is used for, or NULL. */
static inline const char *
standard_fault (const Qcow2Geometry *g, uint64_t entry, uint64_t guest, bool present)
{
  uint64_t at = entry & QCOW2_ENTRY_OFFSET_MASK;

  if (entry & L2_RESERVED_MASK)
    return "L2 entry has reserved bits set";
  if ((entry & QCOW2_ENTRY_ZERO) && !g->zero_flag)
    return "L2 entry has the zero flag, which this kind of image lacks";
  if (!is_aligned (g, at))
    return "L2 entry is not aligned to the cluster size";
  if (g->external && present && at != guest)
    return "L2 entry is not the guest's offset, as an external data file wants it";
  return NULL;
}

/* How many bits of BITS from bit FROM on are set, without a gap; ≤ 32 - FROM, since the
 * shift lets zeros in. */
static inline unsigned
count_ones (uint32_t bits, unsigned from)
{
  uint32_t rest = ~(bits >> from);

  return rest ? (unsigned)__builtin_ctz (rest) : 32;
}

static inline Qcow2Cluster
data_at (const Qcow2Geometry *g, uint64_t at)
{
  if (at >= g->data_size)
    return bad ("L2 entry points past the end of the file");
  return (Qcow2Cluster){.kind = QCOW2_DATA, .at = at};
}

static unsigned
decode_subclusters (const Qcow2Geometry *g, uint64_t bitmap, uint64_t at, bool present,
                    unsigned sub, Qcow2Cluster *ret_cluster)
{
  uint32_t allocated = (uint32_t)bitmap, zero = (uint32_t)(bitmap >> 32);

  if (allocated & zero) {
    *ret_cluster = bad ("L2 entry has a subcluster both allocated and zero");
    return 32 - sub;
  }
  if (allocated && !present) {
    *ret_cluster = bad ("L2 entry has allocated subclusters and no cluster");
    return 32 - sub;
  }
  if (zero >> sub & 1) {
    *ret_cluster = (Qcow2Cluster){.kind = QCOW2_ZERO};
    return count_ones (zero, sub);
  }
  if (allocated >> sub & 1) {
    *ret_cluster = data_at (g, at);
    return count_ones (allocated, sub);
  }
  *ret_cluster = (Qcow2Cluster){.kind = QCOW2_UNALLOCATED};
  return count_ones (~(allocated | zero), sub);
}

/* Does a standard ENTRY have a place?  Offset 0 is the header's, but a place like any
 * other in an external data file, where clusters always are their own only copy. */
static inline bool
is_present (const Qcow2Geometry *g, uint64_t entry)
{
  return (entry & QCOW2_ENTRY_OFFSET_MASK) != 0 ||
         (g->external && (entry & QCOW2_ENTRY_COPIED));
}

unsigned
qcow2_l2_decode (const Qcow2Geometry *geometry, const uint64_t *entry, uint64_t guest,
                 unsigned sub, Qcow2Cluster *ret_cluster)
{
  const Qcow2Geometry *g = geometry;
  unsigned subs = g->entry_words == 2 ? 32 : 1;
  uint64_t at = entry[0] & QCOW2_ENTRY_OFFSET_MASK;
  bool present = is_present (g, entry[0]);
  const char *fault;

  if (entry[0] & QCOW2_ENTRY_COMPRESSED) {
    *ret_cluster = decode_compressed (g, entry);
    return subs - sub;
  }
  fault = standard_fault (g, entry[0], guest, present);
  if (fault) {
    *ret_cluster = bad (fault);
    return subs - sub;
  }
  if (g->entry_words == 2)
    return decode_subclusters (g, entry[1], at, present, sub, ret_cluster);
  if (entry[0] & QCOW2_ENTRY_ZERO)
    *ret_cluster = (Qcow2Cluster){.kind = QCOW2_ZERO};
  else if (!present)
    *ret_cluster = (Qcow2Cluster){.kind = QCOW2_UNALLOCATED};
  else
    *ret_cluster = data_at (g, at);
  return 1;
}

static Qcow2Entry
parse_compressed (const Qcow2Geometry *g, const Qcow2Cluster *cluster)
{
  uint64_t mask = (UINT64_C (1) << g->cluster_bits) - 1, end;

  end = (cluster->at + cluster->stored + mask) & ~mask;
  return (Qcow2Entry){.use = QCOW2_USE_FOREIGN,
                      .compressed = true,
                      .at = cluster->at & ~mask,
                      .length = end - (cluster->at & ~mask),
                      .allocated = qcow2_all_subclusters (g)};
}

static void
parse_bits (const Qcow2Geometry *g, const uint64_t *words, Qcow2Entry *entry)
{
  if (g->entry_words == 2) {
    entry->allocated = (uint32_t)words[1];
    entry->zero = (uint32_t)(words[1] >> 32);
  } else {
    entry->zero = (words[0] & QCOW2_ENTRY_ZERO) != 0;
    entry->allocated = is_present (g, words[0]) && !entry->zero;
  }
}

Qcow2Entry
qcow2_entry_parse (const Qcow2Geometry *geometry, const uint64_t *words, uint64_t guest)
{
  const Qcow2Geometry *g = geometry;
  Qcow2Entry entry = {0};
  Qcow2Cluster cluster;

  parse_bits (g, words, &entry);
  /* Of an allocated subcluster the decoder says whether its place can be. */
  qcow2_l2_decode (g, words, guest,
                   entry.allocated ? (unsigned)__builtin_ctz (entry.allocated) : 0,
                   &cluster);
  if (cluster.kind == QCOW2_BAD)
    return (Qcow2Entry){.use = QCOW2_USE_BAD, .reason = cluster.reason};
  if (cluster.kind == QCOW2_COMPRESSED)
    return parse_compressed (g, &cluster);
  if (is_present (g, words[0])) {
    entry.at = words[0] & QCOW2_ENTRY_OFFSET_MASK;
    entry.length = UINT64_C (1) << g->cluster_bits;
    entry.use = g->external || (words[0] & QCOW2_ENTRY_COPIED) ? QCOW2_USE_OWN
                                                               : QCOW2_USE_FOREIGN;
  }
  return entry;
}

void
qcow2_entry_build (const Qcow2Geometry *geometry, const Qcow2Entry *entry,
                   uint64_t *ret_words)
{
  ret_words[0] = 0;
  if (entry->use != QCOW2_USE_EMPTY)
    ret_words[0] = entry->at;
  if (entry->use == QCOW2_USE_OWN)
    ret_words[0] |= QCOW2_ENTRY_COPIED;
  if (geometry->entry_words == 2)
    ret_words[1] = (uint64_t)entry->zero << 32 | entry->allocated;
  else if (entry->zero)
    ret_words[0] |= QCOW2_ENTRY_ZERO;
}

static inline bool
refcount_is_set (const uint8_t *bytes, uint64_t i, unsigned order)
{
  if (order < 3) {
    unsigned per_byte = 8u >> order, bits = 1u << order;
    unsigned value = bytes[i / per_byte] >> (i % per_byte * bits);

    return (value & ((1u << bits) - 1)) != 0;
  }
  for (unsigned k = 0; k < 1u << (order - 3); k++)
    if (bytes[(i << (order - 3)) + k] != 0)
      return true;
  return false;
}

uint64_t
qcow2_refcounts_used (const uint8_t *bytes, uint64_t n, unsigned order)
{
  uint64_t used = 0;

  for (uint64_t i = 0; i < n; i++)
    used += refcount_is_set (bytes, i, order);
  return used;
}

uint64_t
qcow2_refcount_get (const uint8_t *bytes, uint64_t i, unsigned order)
{
  uint64_t value = 0;

  if (order < 3) {
    unsigned per_byte = 8u >> order, bits = 1u << order;

    return bytes[i / per_byte] >> (i % per_byte * bits) & ((1u << bits) - 1);
  }
  for (unsigned k = 0; k < 1u << (order - 3); k++)
    value = value << 8 | bytes[(i << (order - 3)) + k];
  return value;
}

void
qcow2_refcount_set (uint8_t *bytes, uint64_t i, unsigned order, uint64_t value)
{
  if (order < 3) {
    unsigned per_byte = 8u >> order, bits = 1u << order;
    unsigned shift = (unsigned)(i % per_byte) * bits;
    unsigned mask = ((1u << bits) - 1) << shift;
    uint8_t *byte = &bytes[i / per_byte];

    *byte = (uint8_t)((*byte & ~mask) | (unsigned)value << shift);
    return;
  }
  for (unsigned k = 1u << (order - 3); k-- > 0; value >>= 8)
    bytes[(i << (order - 3)) + k] = (uint8_t)value;
}
