/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks in memory with tables that the tests write themselves, byte by byte. */
#pragma once

#include "partition/partition.h"

typedef struct {
  ImBlock *block;
  int fd;
} TestDisk;

/* SIZE bytes of zeros, sparse. */
TestDisk *test_disk_new (uint64_t size);
void test_disk_free (TestDisk *disk);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (TestDisk, test_disk_free)

void test_disk_write (TestDisk *disk, uint64_t offset, const void *bytes, size_t n);
void test_disk_read (TestDisk *disk, uint64_t offset, void *bytes, size_t n);
void test_disk_poke (TestDisk *disk, uint64_t offset, uint8_t byte);
void test_disk_poke32 (TestDisk *disk, uint64_t offset, uint32_t value);
void test_disk_poke64 (TestDisk *disk, uint64_t offset, uint64_t value);

/* An MBR or EBR at byte OFFSET: the signature, and one entry. */
void test_disk_sign (TestDisk *disk, uint64_t offset);
void test_disk_entry (TestDisk *disk, uint64_t offset, unsigned slot, uint8_t type,
                      uint32_t first, uint32_t sectors);

/* A GPT with a protective MBR, both copies, without entries. */
typedef struct {
  uint32_t sector_size;
  uint32_t entries;
  uint32_t entry_size;
} TestGpt;
#define TEST_GPT ((TestGpt){512, 128, 128})
void test_disk_gpt (TestDisk *disk, const TestGpt *gpt);

/* Writes an entry to both arrays; the checksums are stale until test_gpt_seal. */
void test_gpt_entry (TestDisk *disk, const TestGpt *gpt, unsigned slot, uint64_t first,
                     uint64_t last, const char *name);
/* Writes the checksums of both copies anew. */
void test_gpt_seal (TestDisk *disk, const TestGpt *gpt);
/* Byte offsets of the two headers. */
uint64_t test_gpt_primary (const TestGpt *gpt);
uint64_t test_gpt_backup (TestDisk *disk, const TestGpt *gpt);
/* Seals one header alone. */
void test_gpt_seal_header (TestDisk *disk, uint64_t at, const TestGpt *gpt);

/* The table; the test ends where it cannot be read. */
ImPartitionTable *test_disk_table (TestDisk *disk, uint32_t sector_size);
const ImPartition *test_table_entry (const ImPartitionTable *table, guint i);

/* True where one of the warnings contains TEXT. */
bool test_table_warns (const ImPartitionTable *table, const char *text);
