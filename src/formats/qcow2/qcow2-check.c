/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: checking an image's structure: who points at each cluster of the file, against
 * its reference count, and the flags of entries against both. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-image.h"
#include <errno.h>
#include <inttypes.h>

/* Clusters of the file that can be checked: 8 bytes of memory each. */
#define CHECK_CLUSTERS_MAX (UINT64_C (1) << 28)

typedef struct {
  Qcow2Image *image;
  const ImCheckSink *sink;
  Qcow2Geometry geometry;
  uint64_t clusters; /* of the file, a cut-off last one counted */
  uint32_t *uses;    /* for each: pointers found, UINT32_MAX and more being that */
  uint32_t *counts;  /* for each: its reference count, likewise */
  uint8_t *table;    /* one cluster */
} Check;

static void report (const Check *c, ImProblemKind kind, uint64_t n, const char *format,
                    ...) G_GNUC_PRINTF (4, 5);

/* N of them. */
static void
report (const Check *c, ImProblemKind kind, uint64_t n, const char *format, ...)
{
  va_list arguments;
  g_autofree char *text = NULL;

  va_start (arguments, format);
  text = g_strdup_vprintf (format, arguments);
  va_end (arguments);
  c->sink->found (c->sink->data, kind, n, text);
}

static uint64_t
cluster_size (const Check *c)
{
  return UINT64_C (1) << c->geometry.cluster_bits;
}

/* [AT, AT + LENGTH) of the file is in use once more.  What lies outside it is reported by
 * who found the pointer. */
static void
use (Check *c, uint64_t at, uint64_t length)
{
  uint64_t first = at >> c->geometry.cluster_bits, last;

  if (length == 0 || first >= c->clusters)
    return;
  last = im_min (c->clusters - 1, (at + (length - 1)) >> c->geometry.cluster_bits);
  for (uint64_t i = first; i <= last; i++)
    c->uses[i] += c->uses[i] < UINT32_MAX;
}

/* The cluster at AT, as far as the file has it, else zeros. */
static bool
read_cluster (Check *c, uint64_t at, GError **error)
{
  return im_file_pread (c->image->file, c->table, cluster_size (c), at, error);
}

/* --- reference counts -------------------------------------------------------------- */

static bool
read_block (Check *c, uint64_t index, uint64_t at, GError **error)
{
  uint64_t n =
      UINT64_C (1) << (c->geometry.cluster_bits + 3 - c->image->header.refcount_order);

  if (at % cluster_size (c) != 0 || at >= c->geometry.file_size) {
    report (c, IM_PROBLEM_ERROR, 1,
            "refcount table entry %" PRIu64 " is 0x%" PRIx64 ": %s", index, at,
            at % cluster_size (c) ? "not aligned to the cluster size"
                                  : "past the end of the file");
    return true;
  }
  use (c, at, cluster_size (c));
  if (!read_cluster (c, at, error))
    return false;
  for (uint64_t i = 0; i < n; i++) {
    uint64_t count = qcow2_refcount_get (c->table, i, c->image->header.refcount_order);

    if (count == 0)
      continue;
    if (index * n + i < c->clusters)
      c->counts[index * n + i] = (uint32_t)im_min (count, UINT32_MAX);
    else
      report (c, IM_PROBLEM_NOTE, 1,
              "cluster %" PRIu64
              ", past the end of the file, has reference count %" PRIu64,
              index * n + i, count);
  }
  return true;
}

static bool
read_counts (Check *c, GError **error)
{
  const Qcow2Header *h = &c->image->header;
  uint64_t bytes = (uint64_t)h->refcount_clusters << c->geometry.cluster_bits;
  g_autofree uint8_t *table = g_try_malloc (bytes);

  if (!table) {
    im_set_errno (error, ENOMEM, "refcount table of %" PRIu64 " bytes", bytes);
    return false;
  }
  use (c, h->refcount_offset, bytes);
  if (!im_file_pread (c->image->file, table, bytes, h->refcount_offset, error))
    return false;
  for (uint64_t i = 0; i < bytes / 8; i++) {
    uint64_t entry = im_get_be64 (table + i * 8);

    if (entry & ~QCOW2_REFCOUNT_OFFSET_MASK)
      report (c, IM_PROBLEM_ERROR, 1,
              "refcount table entry %" PRIu64 " is 0x%" PRIx64 ": reserved bits are set",
              i, entry);
    else if (entry && !read_block (c, i, entry, error))
      return false;
  }
  return true;
}

/* --- tables of the disk and of snapshots -------------------------------------------- */

/* A tree of tables: the active one, or a snapshot's. */
typedef struct {
  const char *name;
  uint64_t l1_offset, l1_entries;
  bool active; /* its entries' flags mean something */
} Tree;

/* The flag says that the cluster at AT has one user; that has to be so. */
static void
check_copied (Check *c, const Tree *tree, const char *what, uint64_t at, uint64_t place,
              uint64_t entry)
{
  uint64_t cluster = at >> c->geometry.cluster_bits;
  bool copied = (entry & QCOW2_ENTRY_COPIED) != 0;

  if (!tree->active || cluster >= c->clusters || copied == (c->counts[cluster] == 1))
    return;
  report (c, IM_PROBLEM_ERROR, 1,
          "%s entry at 0x%" PRIx64 " is 0x%" PRIx64
          ": %s, and the reference count is %" PRIu32,
          what, place, entry,
          copied ? "marked as the only one" : "not marked as the only one",
          c->counts[cluster]);
}

/* The first subcluster whose words make no sense, if any. */
static const char *
fault_of (const Check *c, const uint64_t *words, uint64_t guest, Qcow2Cluster *ret_first)
{
  unsigned subclusters = 1u << (c->geometry.cluster_bits - c->geometry.subcluster_bits);
  unsigned sub = qcow2_l2_decode (&c->geometry, words, guest, 0, ret_first);
  Qcow2Cluster cluster = *ret_first;

  while (cluster.kind != QCOW2_BAD && sub < subclusters)
    sub += qcow2_l2_decode (&c->geometry, words, guest, sub, &cluster);
  return cluster.kind == QCOW2_BAD ? cluster.reason : NULL;
}

static void
check_entry (Check *c, const Tree *tree, const uint64_t *words, uint64_t guest,
             uint64_t place)
{
  uint64_t at = words[0] & QCOW2_ENTRY_OFFSET_MASK;
  Qcow2Cluster first;
  const char *fault = fault_of (c, words, guest, &first);

  if (fault) {
    report (c, IM_PROBLEM_ERROR, 1, "%sL2 entry at 0x%" PRIx64 " is 0x%" PRIx64 ": %s",
            tree->name, place, words[0], fault);
    /* What the pointer was probably meant for is not lost. */
    if (!(words[0] & QCOW2_ENTRY_COMPRESSED) && at && !c->geometry.external)
      use (c, at, 1);
    return;
  }
  if (first.kind == QCOW2_COMPRESSED) {
    use (c, first.at, first.stored);
    if (tree->active && (words[0] & QCOW2_ENTRY_COPIED))
      report (c, IM_PROBLEM_ERROR, 1,
              "L2 entry at 0x%" PRIx64 " is 0x%" PRIx64
              ": compressed, and marked as the only one",
              place, words[0]);
    return;
  }
  if (at == 0 || c->geometry.external)
    return;
  /* Readers of zeros never see where they would be. */
  if (at >= c->geometry.file_size) {
    report (c, IM_PROBLEM_ERROR, 1,
            "%sL2 entry at 0x%" PRIx64 " is 0x%" PRIx64
            ": zeros whose place is past the end of the file",
            tree->name, place, words[0]);
    return;
  }
  use (c, at, cluster_size (c));
  check_copied (c, tree, "L2", at, place, words[0]);
}

/* The table at AT; its first entry is for GUEST. */
static bool
check_table (Check *c, const Tree *tree, uint64_t at, uint64_t guest, GError **error)
{
  unsigned n = c->geometry.entry_words;
  uint64_t entries = UINT64_C (1) << c->geometry.l2_bits;

  if (!read_cluster (c, at, error))
    return false;
  for (uint64_t i = 0; i < entries; i++) {
    uint64_t words[2] = {0};

    for (unsigned k = 0; k < n; k++)
      words[k] = im_get_be64 (c->table + (i * n + k) * 8);
    if (words[0] | words[1])
      check_entry (c, tree, words, guest + (i << c->geometry.cluster_bits),
                   at + i * n * 8);
  }
  return true;
}

static bool
check_l1_entry (Check *c, const Tree *tree, uint64_t index, uint64_t entry,
                GError **error)
{
  uint64_t place = tree->l1_offset + index * 8;
  Qcow2Cluster table = qcow2_l1_decode (&c->geometry, entry);

  if (table.kind == QCOW2_UNALLOCATED)
    return true;
  if (table.kind == QCOW2_BAD) {
    report (c, IM_PROBLEM_ERROR, 1, "%sL1 entry at 0x%" PRIx64 " is 0x%" PRIx64 ": %s",
            tree->name, place, entry, table.reason);
    return true;
  }
  use (c, table.at, cluster_size (c));
  check_copied (c, tree, "L1", table.at, place, entry);
  return check_table (c, tree, table.at, index << qcow2_l1_shift (&c->image->header),
                      error);
}

static bool
check_tree (Check *c, const Tree *tree, GError **error)
{
  uint64_t bytes = tree->l1_entries * 8;
  g_autofree uint8_t *l1 = NULL;

  if (tree->l1_offset % cluster_size (c) != 0 || bytes > QCOW2_MAX_L1_BYTES ||
      !im_range_fits (tree->l1_offset, bytes, c->geometry.file_size)) {
    report (c, IM_PROBLEM_ERROR, 1,
            "%sL1 table of %" PRIu64 " entries at 0x%" PRIx64 ": no place for one",
            tree->name, tree->l1_entries, tree->l1_offset);
    return true;
  }
  l1 = g_try_malloc (bytes);
  if (!l1 && bytes > 0) {
    im_set_errno (error, ENOMEM, "L1 table of %" PRIu64 " bytes", bytes);
    return false;
  }
  use (c, tree->l1_offset, bytes);
  if (!im_file_pread (c->image->file, l1, bytes, tree->l1_offset, error))
    return false;
  for (uint64_t i = 0; i < tree->l1_entries; i++) {
    if (!check_l1_entry (c, tree, i, im_get_be64 (l1 + i * 8), error))
      return false;
    c->sink->progress (c->sink->data, i + 1, tree->l1_entries);
  }
  return true;
}

static bool
check_snapshots (Check *c, GError **error)
{
  const Qcow2Header *h = &c->image->header;
  g_autoptr (GPtrArray) all = qcow2_snapshots_read (c->image->file, h, error);
  uint64_t bytes = 0;

  if (!all)
    return false;
  for (guint i = 0; i < all->len; i++) {
    const Qcow2Snapshot *s = all->pdata[i];
    g_autofree char *name = g_strdup_printf ("snapshot %s: ", s->id);
    Tree tree = {.name = name, .l1_offset = s->l1_offset, .l1_entries = s->l1_entries};

    bytes += (s->stored + 7) / 8 * 8;
    if (!check_tree (c, &tree, error))
      return false;
  }
  use (c, h->snapshot_offset, bytes);
  return true;
}

/* --- bitmaps ------------------------------------------------------------------------ */

static bool
check_bitmap (Check *c, const Qcow2Bitmap *bitmap, GError **error)
{
  uint64_t bytes = (uint64_t)bitmap->table_entries * 8;
  g_autofree uint8_t *table = NULL;

  if (bitmap->table_offset % cluster_size (c) != 0 ||
      !im_range_fits (bitmap->table_offset, bytes, c->geometry.file_size)) {
    report (c, IM_PROBLEM_ERROR, 1,
            "bitmap \"%s\": table of %" PRIu32 " entries at 0x%" PRIx64
            ": no place for one",
            bitmap->name, bitmap->table_entries, bitmap->table_offset);
    return true;
  }
  if (bytes == 0)
    return true;
  use (c, bitmap->table_offset, bytes);
  table = g_try_malloc (bytes);
  if (!table) {
    im_set_errno (error, ENOMEM, "bitmap table of %" PRIu64 " bytes", bytes);
    return false;
  }
  if (!im_file_pread (c->image->file, table, bytes, bitmap->table_offset, error))
    return false;
  for (uint32_t i = 0; i < bitmap->table_entries; i++) {
    uint64_t entry = im_get_be64 (table + (size_t)i * 8);
    uint64_t at = entry & QCOW2_ENTRY_OFFSET_MASK;

    if (at % cluster_size (c) != 0 || (at && at >= c->geometry.file_size))
      report (c, IM_PROBLEM_ERROR, 1,
              "bitmap \"%s\": table entry %" PRIu32 " is 0x%" PRIx64
              ": no place for a cluster",
              bitmap->name, i, entry);
    else if (at)
      use (c, at, cluster_size (c));
  }
  return true;
}

/* Where the bit says that bitmaps are not kept right, nothing of them counts. */
static bool
check_bitmaps (Check *c, GError **error)
{
  const Qcow2Extensions *e = &c->image->extensions;
  g_autoptr (GPtrArray) all = NULL;

  if (!e->has_bitmaps || !(c->image->header.autoclear & QCOW2_AUTOCLEAR_BITMAPS))
    return true;
  all = qcow2_bitmaps_read (c->image, error);
  if (!all)
    return false;
  use (c, e->directory_offset, e->directory_size);
  for (guint i = 0; i < all->len; i++)
    if (!check_bitmap (c, all->pdata[i], error))
      return false;
  return true;
}

/* --- the comparison ----------------------------------------------------------------- */

/* Clusters [FIRST, END) are all used and counted as the first is. */
static void
compare_run (const Check *c, uint64_t first, uint64_t end)
{
  uint32_t uses = c->uses[first], count = c->counts[first];
  g_autofree char *where = NULL;

  if (uses == count)
    return;
  where = end - first == 1
              ? g_strdup_printf ("cluster %" PRIu64, first)
              : g_strdup_printf ("clusters %" PRIu64 " to %" PRIu64, first, end - 1);
  report (c, uses > count ? IM_PROBLEM_ERROR : IM_PROBLEM_LEAK, end - first,
          "%s: reference count %" PRIu32 ", pointers to it %" PRIu32, where, count, uses);
}

static void
compare (const Check *c)
{
  for (uint64_t first = 0, end; first < c->clusters; first = end) {
    end = first + 1;
    while (end < c->clusters && c->uses[end] == c->uses[first] &&
           c->counts[end] == c->counts[first])
      end++;
    compare_run (c, first, end);
  }
}

static void
check_flags (const Check *c)
{
  uint64_t features = c->image->header.incompatible;

  if (features & QCOW2_INCOMPATIBLE_CORRUPT)
    report (c, IM_PROBLEM_ERROR, 1, "header: marked corrupt");
  if (features & QCOW2_INCOMPATIBLE_DIRTY)
    report (c, IM_PROBLEM_NOTE, 1,
            "header: marked dirty: it was not closed, and counts may be wrong");
}

static bool
check_all (Check *c, GError **error)
{
  const Qcow2Header *h = &c->image->header;
  Tree active = {
      .name = "", .l1_offset = h->l1_offset, .l1_entries = h->l1_entries, .active = true};

  use (c, 0, cluster_size (c));
  if (h->crypt_method == QCOW2_CRYPT_LUKS)
    use (c, c->image->extensions.crypt_offset, c->image->extensions.crypt_size);
  check_flags (c);
  if (!read_counts (c, error) || !check_tree (c, &active, error) ||
      !check_snapshots (c, error) || !check_bitmaps (c, error))
    return false;
  compare (c);
  return true;
}

bool
qcow2_check (ImBlock *block, const ImCheckSink *sink, GError **error)
{
  Qcow2Image *image = (Qcow2Image *)block;
  uint64_t size = im_file_size (image->file);
  Check c = {.image = image, .sink = sink};
  bool ok;

  c.geometry = qcow2_geometry (&image->header, size, im_file_size (image->data));
  c.clusters = im_div_up (size, cluster_size (&c));
  if (c.clusters > CHECK_CLUSTERS_MAX) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "%" PRIu64 " clusters are more than the limit of %" PRIu64
                 " that can be checked",
                 c.clusters, CHECK_CLUSTERS_MAX);
    return false;
  }
  c.uses = g_try_new0 (uint32_t, c.clusters);
  c.counts = g_try_new0 (uint32_t, c.clusters);
  c.table = g_malloc (cluster_size (&c));
  ok = c.uses && c.counts;
  if (!ok)
    im_set_errno (error, ENOMEM, "checking %" PRIu64 " clusters", c.clusters);
  ok = ok && check_all (&c, error);
  g_free (c.uses);
  g_free (c.counts);
  g_free (c.table);
  return ok;
}
