/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What partition types are called. */
#include "partition/partition.h"

/* By type byte; those in wide use, the rest shows its number. */
static const char *const mbr_names[256] = {
    [0x00] = "Empty",
    [0x01] = "FAT12",
    [0x04] = "FAT16 below 32M",
    [0x05] = "Extended",
    [0x06] = "FAT16",
    [0x07] = "HPFS/NTFS/exFAT",
    [0x0b] = "FAT32",
    [0x0c] = "FAT32 (LBA)",
    [0x0e] = "FAT16 (LBA)",
    [0x0f] = "Extended (LBA)",
    [0x11] = "Hidden FAT12",
    [0x12] = "Diagnostics",
    [0x14] = "Hidden FAT16 below 32M",
    [0x16] = "Hidden FAT16",
    [0x17] = "Hidden HPFS/NTFS",
    [0x1b] = "Hidden FAT32",
    [0x1c] = "Hidden FAT32 (LBA)",
    [0x1e] = "Hidden FAT16 (LBA)",
    [0x27] = "Windows recovery",
    [0x39] = "Plan 9",
    [0x41] = "PowerPC PReP boot",
    [0x42] = "Windows dynamic disk",
    [0x4d] = "QNX4",
    [0x63] = "Hurd or System V",
    [0x65] = "NetWare",
    [0x81] = "Minix",
    [0x82] = "Linux swap",
    [0x83] = "Linux",
    [0x84] = "Hibernation",
    [0x85] = "Linux extended",
    [0x88] = "Linux plaintext",
    [0x8e] = "Linux LVM",
    [0x93] = "Amoeba",
    [0xa0] = "Hibernation",
    [0xa5] = "FreeBSD",
    [0xa6] = "OpenBSD",
    [0xa7] = "NeXTSTEP",
    [0xa8] = "Apple UFS",
    [0xa9] = "NetBSD",
    [0xab] = "Apple boot",
    [0xaf] = "Apple HFS/HFS+",
    [0xb7] = "BSDI",
    [0xb8] = "BSDI swap",
    [0xbe] = "Solaris boot",
    [0xbf] = "Solaris",
    [0xda] = "No file system",
    [0xde] = "Dell utilities",
    [0xea] = "Linux extended boot",
    [0xeb] = "BeOS",
    [0xee] = "GPT protective",
    [0xef] = "EFI System",
    [0xfb] = "VMware VMFS",
    [0xfc] = "VMware VMKCORE",
    [0xfd] = "Linux RAID",
};

/* What an MBR type without a name is called. */
#define HEX_ROW(high)                                                                    \
  "0x" high "0", "0x" high "1", "0x" high "2", "0x" high "3", "0x" high "4",             \
      "0x" high "5", "0x" high "6", "0x" high "7", "0x" high "8", "0x" high "9",         \
      "0x" high "a", "0x" high "b", "0x" high "c", "0x" high "d", "0x" high "e",         \
      "0x" high "f"

static const char mbr_codes[256][5] = {
    HEX_ROW ("0"), HEX_ROW ("1"), HEX_ROW ("2"), HEX_ROW ("3"),
    HEX_ROW ("4"), HEX_ROW ("5"), HEX_ROW ("6"), HEX_ROW ("7"),
    HEX_ROW ("8"), HEX_ROW ("9"), HEX_ROW ("a"), HEX_ROW ("b"),
    HEX_ROW ("c"), HEX_ROW ("d"), HEX_ROW ("e"), HEX_ROW ("f"),
};

static const struct {
  const char *guid;
  const char *name;
} gpt_names[] = {
    {"C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "EFI System"},
    {"21686148-6449-6E6F-744E-656564454649", "BIOS boot"},
    {"024DEE41-33E7-11D3-9D69-0008C781F39F", "MBR partition scheme"},
    {"9E1A2D38-C612-4316-AA26-8B49521E5A8B", "PowerPC PReP boot"},
    {"0FC63DAF-8483-4772-8E79-3D69D8477DE4", "Linux filesystem"},
    {"0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "Linux swap"},
    {"E6D6D379-F507-44C2-A23C-238F2A3DF928", "Linux LVM"},
    {"A19D880F-05FC-4D3B-A006-743F0F84911E", "Linux RAID"},
    {"8DA63339-0007-60C0-C436-083AC8230908", "Linux reserved"},
    {"BC13C2FF-59E6-4262-A352-B275FD6F7172", "Linux extended boot"},
    {"CA7D7CCB-63ED-4C53-861C-1742536059CC", "Linux LUKS"},
    {"933AC7E1-2EB4-4F13-B844-0E14E2AEF915", "Linux home"},
    {"3B8F8425-20E0-4F3B-907F-1A25A76F98E8", "Linux server data"},
    {"4D21B016-B534-45C2-A9FB-5C16E091FD2D", "Linux variable data"},
    {"7EC6F557-3BC5-4ACA-B293-16EF5DF639D1", "Linux temporary data"},
    {"773F91EF-66D4-49B5-BD83-D683BF40AD16", "Linux user's home"},
    {"44479540-F297-41B2-9AF7-D131D5F0458A", "Linux root (x86)"},
    {"4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "Linux root (x86-64)"},
    {"69DAD710-2CE4-4E3C-B16C-21A1D49ABED3", "Linux root (ARM)"},
    {"B921B045-1DF0-41C3-AF44-4C6F280D3FAE", "Linux root (ARM-64)"},
    {"912ADE1D-A839-4913-8964-A10EEE08FBD2", "Linux root (PPC64)"},
    {"C31C45E6-3F39-412E-80FB-4809C4980599", "Linux root (PPC64LE)"},
    {"72EC70A6-CF74-40E6-BD49-4BDA08E8F224", "Linux root (RISC-V-64)"},
    {"5EEAD9A9-FE09-4A1E-A1D7-520D00531306", "Linux root (S390X)"},
    {"75250D76-8CC6-458E-BD66-BD47CC81A812", "Linux /usr (x86)"},
    {"8484680C-9521-48C6-9C11-B0720656F69E", "Linux /usr (x86-64)"},
    {"7D0359A3-02B3-4F0A-865C-654403E70625", "Linux /usr (ARM)"},
    {"B0E01050-EE5F-4390-949A-9101B17104E9", "Linux /usr (ARM-64)"},
    {"2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5", "Linux root verity (x86-64)"},
    {"DF3300CE-D69F-4C92-978C-9BFB0F38D820", "Linux root verity (ARM-64)"},
    {"77FF5F63-E7B6-4633-ACF4-1565B864C0E6", "Linux /usr verity (x86-64)"},
    {"6E11A4E7-FBCA-4DED-B9E9-E1A512BB664E", "Linux /usr verity (ARM-64)"},
    {"EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "Microsoft basic data"},
    {"E3C9E316-0B5C-4DB8-817D-F92DF00215AE", "Microsoft reserved"},
    {"DE94BBA4-06D1-4D40-A16A-BFD50179D6AC", "Windows recovery"},
    {"5808C8AA-7E8F-42E0-85D2-E1E90434CFB3", "Windows LDM metadata"},
    {"AF9B60A0-1431-4F62-BC68-3311714A69AD", "Windows LDM data"},
    {"E75CAF8F-F680-4CEE-AFA3-B001E56EFC2D", "Windows Storage Spaces"},
    {"48465300-0000-11AA-AA11-00306543ECAC", "Apple HFS/HFS+"},
    {"7C3457EF-0000-11AA-AA11-00306543ECAC", "Apple APFS"},
    {"53746F72-6167-11AA-AA11-00306543ECAC", "Apple Core Storage"},
    {"426F6F74-0000-11AA-AA11-00306543ECAC", "Apple boot"},
    {"52414944-0000-11AA-AA11-00306543ECAC", "Apple RAID"},
    {"55465300-0000-11AA-AA11-00306543ECAC", "Apple UFS"},
    {"69646961-6700-11AA-AA11-00306543ECAC", "Apple Silicon boot"},
    {"52637672-7900-11AA-AA11-00306543ECAC", "Apple Silicon recovery"},
    {"83BD6B9D-7F41-11DC-BE0B-001560B84F0F", "FreeBSD boot"},
    {"516E7CB4-6ECF-11D6-8FF8-00022D09712B", "FreeBSD disklabel"},
    {"516E7CB5-6ECF-11D6-8FF8-00022D09712B", "FreeBSD swap"},
    {"516E7CB6-6ECF-11D6-8FF8-00022D09712B", "FreeBSD UFS"},
    {"516E7CBA-6ECF-11D6-8FF8-00022D09712B", "FreeBSD ZFS"},
    {"824CC7A0-36A8-11E3-890A-952519AD3F61", "OpenBSD"},
    {"49F48D32-B10E-11DC-B99B-0019D1879648", "NetBSD swap"},
    {"49F48D5A-B10E-11DC-B99B-0019D1879648", "NetBSD FFS"},
    {"6A82CB45-1DD2-11B2-99A6-080020736631", "Solaris boot"},
    {"6A85CF4D-1DD2-11B2-99A6-080020736631", "Solaris root"},
    {"6A898CC3-1DD2-11B2-99A6-080020736631", "Solaris /usr or ZFS"},
    {"6A945A3B-1DD2-11B2-99A6-080020736631", "Solaris reserved"},
    {"FE3A2A5D-4F32-41A7-B725-ACCC3285A309", "ChromeOS kernel"},
    {"3CB8E202-3B7E-47DD-8A3C-7FF2A13CFCEC", "ChromeOS root"},
    {"2E0A753D-9E48-43B0-8337-B15192CB1B5E", "ChromeOS reserved"},
    {"4FBD7E29-9D25-41B8-AFD0-062C0CEFF05D", "Ceph OSD"},
    {"AA31E02A-400F-11DB-9590-000C2911D1B8", "VMware VMFS"},
    {"9D275380-40AD-11DB-BF97-000C2911D1B8", "VMware diagnostics"},
    {"42465331-3BA3-10F1-802A-4861696B7521", "Haiku BFS"},
};

const char *
im_partition_type_name (const ImPartition *partition)
{
  if (partition->type_text)
    return partition->type_text;
  if (partition->type_name)
    return partition->type_name;
  if (!partition->type_guid) {
    const char *name = mbr_names[partition->mbr_type];
    return name ? name : mbr_codes[partition->mbr_type];
  }
  for (size_t i = 0; i < G_N_ELEMENTS (gpt_names); i++)
    if (strcmp (gpt_names[i].guid, partition->type_guid) == 0)
      return gpt_names[i].name;
  return partition->type_guid;
}
