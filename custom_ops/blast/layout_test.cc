#include "blast/layout.h"

#include <cmath>
#include <limits>
#include <vector>

#include "testing/check.h"

namespace blast_deploy::blast {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> packed(const Sizes& sizes, const std::vector<float>& u, const std::vector<float>& s,
                          const std::vector<float>& v) {
  const Layout layout = plan(sizes);
  std::vector<float> values(static_cast<std::size_t>(layout.size), kNan);
  pack(layout, sizeof(float), u.data(), s.data(), v.data(), values.data());
  return values;
}

TEST(smallest_matrix_takes_three_cache_lines) {
  std::vector<float> expected(48, 0.0F);
  expected[0] = 4.0F;
  expected[16] = 3.0F;
  expected[32] = 2.0F;
  CHECK(packed({1, 1, 1, 1, 1}, {2.0F}, {3.0F}, {4.0F}) == expected);
}

TEST(panels_hold_rows_of_the_transposed_factor) {
  // U is (2, 1, 2), S is (2, 1, 2) and V is (1, 2, 3): one panel of 3 rows for V, one of 2 rows for each U_i.
  const std::vector<float> values =
      packed({2, 3, 2, 1, 2}, {1, 2, 3, 4}, {5, 6, 7, 8}, {11, 12, 13, 21, 22, 23});
  std::vector<float> expected(96, 0.0F);
  expected[0] = 11;
  expected[1] = 21;
  expected[8] = 12;
  expected[9] = 22;
  expected[16] = 13;
  expected[17] = 23;
  expected[32] = 5;
  expected[33] = 6;
  expected[48] = 7;
  expected[49] = 8;
  expected[64] = 1;
  expected[72] = 2;
  expected[80] = 3;
  expected[88] = 4;
  CHECK(values == expected);
}

TEST(padding_is_written_as_zeros) {
  // 3 x 3 in 2 x 2 blocks: the last row of U_1 and the last column of V_1 are padding.
  const std::vector<float> values = packed({3, 3, 2, 2, 1}, {1, 2, 3, kNan}, {1, 1, 1, 1}, {1, 2, 3, kNan});
  for (const float value : values) CHECK(!std::isnan(value));
}

TEST(matrices_are_cut_into_wide_panels_first) {
  CHECK(panels_size(1, 8) == 16);
  CHECK(panels_size(3, 8) == 32);  // 24 floats, padded to whole cache lines
  CHECK(panels_size(1, 9) == 16);
  CHECK(panels_size(2, 24) == 2 * 16 + 16);
  CHECK(panels_size(1, 25) == 32);
  CHECK(panels_size(5, 95) == 5 * 96);
  CHECK(panels_size(4, 152) == 4 * 152);
}

TEST(a_large_rank_is_cut_into_chunks) {
  const Layout one = plan({64, 64, 2, 2, 160});
  CHECK(one.chunks == 1 && one.chunk_rank == 160);
  const Layout two = plan({64, 64, 2, 2, 161});
  CHECK(two.chunks == 2 && two.chunk_rank == 96 && rank_of_chunk(two, 1) == 65);
  const Layout eight = plan({4096, 4096, 16, 16, 992});
  CHECK(eight.chunks == 8 && eight.chunk_rank == 128 && rank_of_chunk(eight, 7) == 96);
  CHECK(eight.size == 992 * (4096 + 4096 + 256));
}

TEST(chunks_follow_each_other) {
  const std::int64_t rank = 161;
  std::vector<float> u, s, v;
  for (std::int64_t k = 0; k < rank; ++k) {
    u.push_back(1000.0F + static_cast<float>(k));
    s.push_back(2000.0F + static_cast<float>(k));
    v.push_back(3000.0F + static_cast<float>(k));
  }
  const std::vector<float> values = packed({1, 1, 1, 1, rank}, u, s, v);
  // First chunk: 96 of V, 96 of S, 96 rows of 8 for U; then the second from component 96 on.
  const std::size_t second = 96 + 96 + 96 * 8;
  CHECK(values[0] == 3000.0F && values[96] == 2000.0F && values[192] == 1000.0F && values[200] == 1001.0F);
  CHECK(values[second] == 3096.0F);
  CHECK(values.size() == second + (64 + 16) + 80 + round_up(65 * 8, 16));
}

TEST(impossible_sizes_are_refused) {
  CHECK_THROWS(plan({0, 1, 1, 1, 1}), "out_features is 0, and must be from 1 to 2147483647");
  CHECK_THROWS(plan({1, -1, 1, 1, 1}), "in_features is -1, and must be from 1 to 2147483647");
  CHECK_THROWS(plan({1, 1, 0, 1, 1}), "the number of block rows is 0, and must be from 1 to 2147483647");
  CHECK_THROWS(plan({1, 1, 1, 0, 1}), "the number of block columns is 0, and must be from 1 to 2147483647");
  CHECK_THROWS(plan({1, 1, 1, 1, 0}), "the rank is 0, and must be from 1 to 2147483647");
  CHECK_THROWS(plan({1, 1, 1, 1, std::int64_t{1} << 31}),
               "the rank is 2147483648, and must be from 1 to 2147483647");
}

TEST(sizes_whose_product_overflows_are_refused) {
  constexpr std::int64_t kHuge = (std::int64_t{1} << 31) - 1;
  const char* const sentence =
      "the packed factors would exceed 1099511627776 values; use a smaller rank or fewer blocks";
  CHECK_THROWS(plan({kHuge, 1, 1, 1, kHuge}), sentence);
  CHECK_THROWS(plan({1, kHuge, 1, 1, kHuge}), sentence);
  CHECK_THROWS(plan({1, 1, kHuge, kHuge, kHuge}), sentence);
}

}  // namespace
}  // namespace blast_deploy::blast

RUN_TESTS()
