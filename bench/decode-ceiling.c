/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How fast all cores decode the compressed clusters of a qcow2, and do nothing else.
 *
 * Only for images of our own making: it trusts the tables it reads. */
#define _GNU_SOURCE
#include <endian.h>
#include <fcntl.h>
#include <libdeflate.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

enum {
  HEADER_CLUSTER_BITS = 20,
  HEADER_SIZE = 24,
  HEADER_L1_TABLE = 40,
  HEADER_COMPRESSION = 104,
  COMPRESSION_ZSTD = 1,
  SECTOR = 512,
  MAX_THREADS = 256,
};
#define OFFSET_MASK   0x00fffffffffffe00ULL
#define L2_COMPRESSED (1ULL << 62)

typedef struct {
  const uint8_t *bytes;
  size_t length;
} Packed;

typedef struct {
  const uint8_t *image;
  size_t image_size;
  size_t cluster;
  bool zstd;
  Packed *packed;
  size_t count;
  double limit; /* seconds */
  atomic_size_t next;
  atomic_size_t decoded; /* clusters */
  atomic_bool failed;
} Work;

static double
now (void)
{
  struct timespec at;
  clock_gettime (CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static uint64_t
read_be64 (const Work *work, uint64_t offset)
{
  uint64_t value;
  memcpy (&value, work->image + offset, sizeof value);
  return be64toh (value);
}

/* An entry's low bits are the offset, those above it the number of further sectors. */
static Packed
unpack_entry (const Work *work, uint64_t entry, unsigned cluster_bits)
{
  unsigned shift = 62 - (cluster_bits - 8);
  uint64_t offset = entry & ((1ULL << shift) - 1);
  uint64_t sectors = ((entry & (L2_COMPRESSED - 1)) >> shift) + 1;
  size_t length = sectors * SECTOR - offset % SECTOR;
  if (length > work->image_size - offset)
    length = work->image_size - offset;
  return (Packed){work->image + offset, length};
}

static void
collect_table (Work *work, uint64_t l2_offset, unsigned cluster_bits)
{
  for (size_t i = 0; i < work->cluster / 8; i++) {
    uint64_t entry = read_be64 (work, l2_offset + i * 8);
    if (entry & L2_COMPRESSED)
      work->packed[work->count++] = unpack_entry (work, entry, cluster_bits);
  }
}

static void
collect (Work *work)
{
  uint32_t cluster_bits;
  memcpy (&cluster_bits, work->image + HEADER_CLUSTER_BITS, sizeof cluster_bits);
  cluster_bits = be32toh (cluster_bits);
  work->cluster = (size_t)1 << cluster_bits;
  uint64_t size = read_be64 (work, HEADER_SIZE);
  uint64_t l1_offset = read_be64 (work, HEADER_L1_TABLE);
  uint64_t covered = (uint64_t)work->cluster / 8 * work->cluster;
  uint64_t tables = (size + covered - 1) / covered;
  work->packed = calloc (tables * (work->cluster / 8), sizeof *work->packed);
  if (!work->packed)
    exit (1);
  work->zstd = work->image[HEADER_COMPRESSION] == COMPRESSION_ZSTD;
  for (uint64_t i = 0; i < tables; i++) {
    uint64_t l2_offset = read_be64 (work, l1_offset + i * 8) & OFFSET_MASK;
    if (l2_offset != 0)
      collect_table (work, l2_offset, cluster_bits);
  }
}

static bool
decode_zstd (ZSTD_DCtx *context, const Packed *packed, uint8_t *out, size_t size)
{
  size_t frame = ZSTD_findFrameCompressedSize (packed->bytes, packed->length);
  return !ZSTD_isError (frame) &&
         ZSTD_decompressDCtx (context, out, size, packed->bytes, frame) == size;
}

static bool
decode_deflate (struct libdeflate_decompressor *context, const Packed *packed,
                uint8_t *out, size_t size)
{
  size_t used;
  return libdeflate_deflate_decompress_ex (context, packed->bytes, packed->length, out,
                                           size, &used, NULL) == LIBDEFLATE_SUCCESS;
}

static void *
decode_thread (void *data)
{
  Work *work = data;
  ZSTD_DCtx *zstd = ZSTD_createDCtx ();
  struct libdeflate_decompressor *deflate = libdeflate_alloc_decompressor ();
  uint8_t *out = malloc (work->cluster);
  double end = now () + work->limit;
  size_t decoded = 0;
  while (zstd && deflate && out && now () < end) {
    const Packed *packed = &work->packed[atomic_fetch_add (&work->next, 1) % work->count];
    bool good = work->zstd ? decode_zstd (zstd, packed, out, work->cluster)
                           : decode_deflate (deflate, packed, out, work->cluster);
    if (!good) {
      atomic_store (&work->failed, true);
      break;
    }
    decoded++;
  }
  atomic_fetch_add (&work->decoded, decoded);
  free (out);
  libdeflate_free_decompressor (deflate);
  ZSTD_freeDCtx (zstd);
  return NULL;
}

static bool
run_threads (Work *work, long threads)
{
  pthread_t ids[MAX_THREADS];
  if (threads > MAX_THREADS)
    threads = MAX_THREADS;
  for (long i = 0; i < threads; i++)
    if (pthread_create (&ids[i], NULL, decode_thread, work) != 0)
      return false;
  for (long i = 0; i < threads; i++)
    pthread_join (ids[i], NULL);
  return !atomic_load (&work->failed);
}

static bool
map_image (Work *work, const char *path)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  struct stat info;
  if (fd < 0 || fstat (fd, &info) != 0)
    return false;
  work->image_size = (size_t)info.st_size;
  void *image =
      mmap (NULL, work->image_size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
  close (fd);
  work->image = image;
  return image != MAP_FAILED;
}

static double
cpu_seconds (void)
{
  struct rusage usage;
  getrusage (RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int
main (int argc, char **argv)
{
  if (argc != 3) {
    fprintf (stderr, "usage: decode-ceiling IMAGE SECONDS\n");
    return 2;
  }
  Work work = {.limit = atof (argv[2])};
  if (!map_image (&work, argv[1])) {
    perror (argv[1]);
    return 1;
  }
  collect (&work);
  if (work.count == 0) {
    fprintf (stderr, "%s: no compressed clusters\n", argv[1]);
    return 1;
  }
  double cpu = cpu_seconds ();
  double begin = now ();
  if (!run_threads (&work, sysconf (_SC_NPROCESSORS_ONLN))) {
    fprintf (stderr, "%s: a cluster was not decoded\n", argv[1]);
    return 1;
  }
  printf ("{\"bytes\": %zu, \"seconds\": %f, \"cpu\": %f, \"clusters\": %zu}\n",
          atomic_load (&work.decoded) * work.cluster, now () - begin,
          cpu_seconds () - cpu, work.count);
  return 0;
}
