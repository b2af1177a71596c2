/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Overlays: a qcow2 above the image that takes the writes, for once or to stay. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2.h"
#include "image/image.h"
#include "image/opening.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* QEMU counts disks in these, so an overlay may be larger by a part of one. */
#define SECTOR 512u

/* What the driver is given to open an overlay. */
typedef struct {
  ImOpenContext context; /* first: what the driver hands back */
  const ImImage *image;  /* the parent, which is open already */
  bool temporary;        /* made just now, so what it says of its parent is true */
} Lending;

/* Does an overlay that records FORMAT_NAME, or nothing, mean the image as it was opened?
 * Without a record QEMU probes. */
static bool
check_format (const ImImage *image, const char *format_name, GError **error)
{
  const ImFormat *format =
      format_name ? im_format_by_name (format_name) : im_image_probe (image->file, error);
  if (format == image->format)
    return true;
  if (error && !*error)
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "takes its backing file for %s, the image was opened as %s",
                 format_name ? format_name : format->name, image->format->name);
  return false;
}

/* Is what the overlay FROM calls NAME this very image? */
static bool
check_parent (const ImImage *image, ImFile *from, const char *name, GError **error)
{
  g_autofree char *path = im_image_resolve_name (from, name);
  struct stat st;
  if (stat (path, &st) < 0) {
    im_set_errno (error, errno, "has the backing file %s", path);
    return false;
  }
  if (im_file_is_same (image->file, &st))
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
               "has another backing file than this image: %s", path);
  return false;
}

static ImBlock *
lend_image (const ImOpenContext *context, ImFile *from, const char *name,
            const char *format, GError **error)
{
  const Lending *lending = (const Lending *)context;
  if (!lending->temporary && (!check_parent (lending->image, from, name, error) ||
                              !check_format (lending->image, format, error)))
    return NULL;
  return im_block_ref (lending->image->disk);
}

/* An overlay is one file. */
static ImFile *
open_no_file (const ImOpenContext *context, ImFile *from, const char *name,
              GError **error)
{
  return NULL;
}

/* Makes FILE an overlay that calls the image NAME. */
static bool
write_new (const ImImage *image, ImFile *file, const char *name, GError **error)
{
  ImNewImage new_image = {.size = image->disk->size,
                          .backing_name = name,
                          .backing_format = im_format_qemu_name (image->format)};
  return im_format_qcow2.create (file, &new_image, error);
}

static ImFile *
create_temporary (const ImImage *image, const char *folder, GError **error)
{
  g_autoptr (ImFile) file = im_file_create_temporary (folder, error);
  if (!file || !write_new (image, file, "image", error))
    return NULL;
  return g_steal_pointer (&file);
}

/* What the overlay at PATH is to call the image: its bare name where both lie in one
 * folder, which may then be moved as a whole, else the absolute one.  Caller frees. */
static char *
name_image (const ImImage *image, const char *path)
{
  const char *image_path = im_file_path (image->file);
  g_autofree char *image_folder = g_path_get_dirname (image_path);
  g_autofree char *folder = g_path_get_dirname (path);
  struct stat a, b;
  if (stat (image_folder, &a) < 0 || stat (folder, &b) < 0 || a.st_dev != b.st_dev ||
      a.st_ino != b.st_ino)
    return g_strdup (image_path);
  g_autofree char *name = g_path_get_basename (image_path);
  /* What stands before a colon would be taken for a protocol. */
  return strchr (name, ':') ? g_strconcat ("./", name, NULL) : g_steal_pointer (&name);
}

/* Makes the name of a new file durable, as far as its file system can. */
static bool
sync_folder (const char *path, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (path);
  int fd = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  bool ok = fd >= 0 && (fsync (fd) == 0 || errno == EINVAL);
  if (!ok)
    im_set_errno (error, errno, "cannot make its name durable");
  if (fd >= 0)
    close (fd);
  return ok;
}

/* It shows what the image shows, so nobody may read it who may not read the image. */
static bool
create_lasting (const ImImage *image, const char *path, GError **error)
{
  mode_t mode = S_IRUSR | S_IWUSR | (im_file_stat (image->file)->st_mode & 0666);
  g_autofree char *name = name_image (image, path);
  g_autoptr (ImFile) file = im_file_create (path, mode, error);
  if (!file)
    return false;
  if (im_image_lock (file, error) && write_new (image, file, name, error) &&
      sync_folder (path, error))
    return true;
  unlink (path);
  return false;
}

/* Is FILE something that may be written to here at all? */
static bool
check_file (const ImImage *image, ImFile *file, GError **error)
{
  const char *part = im_image_part (image, im_file_stat (file));
  if (part) {
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED, "is %s", part);
    return false;
  }
  if (!im_image_lock (file, error))
    return false;
  const ImFormat *format = im_image_probe (file, error);
  if (format && format != &im_format_qcow2)
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "exists, and is not a qcow2 image; it stays as it is");
  return format == &im_format_qcow2;
}

/* The overlay at PATH, made where it was not there. */
static ImFile *
open_lasting (const ImImage *image, const char *path, const ImFileMode *mode,
              GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (ImFile) file = im_file_open (path, mode, &failure);
  if (!file && g_error_matches (failure, IM_ERRNO, ENOENT)) {
    g_clear_error (&failure);
    if (!create_lasting (image, path, error))
      return NULL;
    file = im_file_open (path, mode, &failure);
  }
  if (!file) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return NULL;
  }
  return check_file (image, file, error) ? g_steal_pointer (&file) : NULL;
}

/* Does DISK, as the driver opened it, lie above IMAGE and take its writes? */
static bool
check_disk (const ImImage *image, const ImBlock *disk, GError **error)
{
  uint64_t size = image->disk->size;
  uint64_t in_sectors = im_div_up (size, SECTOR) * SECTOR;
  if (!disk->parent)
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "has no backing file, so it is no overlay of this image");
  else if (disk->size != size && disk->size != in_sectors)
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "has a disk of %" G_GUINT64_FORMAT
                 " bytes, the image one of %" G_GUINT64_FORMAT,
                 disk->size, size);
  else if (!disk->writable)
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED, "cannot be written: %s",
                 disk->read_only_because);
  else
    return true;
  return false;
}

/* Opens FILE above the image. */
static ImBlock *
open_above (const ImImage *image, ImFile *file, bool temporary, const ImResources *shared,
            GError **error)
{
  Lending lending = {
      .context = {.shared = shared, .open_parent = lend_image, .open_file = open_no_file},
      .image = image,
      .temporary = temporary};
  g_autoptr (ImBlock) disk = im_format_qcow2.open (file, &lending.context, error);
  if (!disk || !check_disk (image, disk, error))
    return NULL;
  im_block_set_file (disk, file);
  disk->size = image->disk->size;
  return g_steal_pointer (&disk);
}

bool
im_image_add_overlay (ImImage *image, const char *path, const ImFileMode *mode,
                      const ImResources *shared, GError **error)
{
  const char *folder = g_getenv ("TMPDIR");
  if (!folder || !folder[0])
    folder = "/var/tmp";
  g_autoptr (ImFile) file = path ? open_lasting (image, path, mode, error)
                                 : create_temporary (image, folder, error);
  ImBlock *disk = file ? open_above (image, file, path == NULL, shared, error) : NULL;
  if (!disk) {
    g_prefix_error (
        error, path ? "overlay %s: " : "temporary overlay in %s: ", path ? path : folder);
    return false;
  }
  im_block_unref (image->disk); /* the overlay has its own reference */
  image->disk = disk;
  return true;
}
